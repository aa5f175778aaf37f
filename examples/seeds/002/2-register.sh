cat > /tmp/td.json <<EOF
{
  "family": "lab-web",
  "networkMode": "awsvpc",
  "requiresCompatibilities": ["FARGATE"],
  "cpu": "256",
  "memory": "512",
  "executionRoleArn": "$TER",
  "containerDefinitions": [{
    "name": "web",
    "image": "nginx:alpine",
    "portMappings": [{"containerPort": 80, "protocol": "tcp"}],
    "logConfiguration": {"logDriver":"awslogs", "options":{"awslogs-group":"/ecs/lab","awslogs-region":"us-east-1","awslogs-stream-prefix":"web","awslogs-create-group":"true"}}
  }]
}
EOF
aws ecs register-task-definition --cli-input-json file:///tmp/td.json
