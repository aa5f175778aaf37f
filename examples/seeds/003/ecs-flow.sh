# 2. Register Task Definition
aws ecs register-task-definition \
  --cli-input-json file://task-definition.json

# 3. Create Service (Fargate)
aws ecs create-service \
  --cluster my-cluster \
  --service-name web-service \
  --task-definition web-app:1 \
  --desired-count 2 \
  --launch-type FARGATE \
  --network-configuration "awsvpcConfiguration={subnets=[$SUBNET],securityGroups=[$SG],assignPublicIp=ENABLED}"
