aws ecs list-tasks --cluster lab-cluster
aws ecs describe-tasks --cluster lab-cluster --tasks $(aws ecs list-tasks --cluster lab-cluster --query 'taskArns[0]' --output text) \
  --query 'tasks[0].{status:lastStatus,health:healthStatus,containers:containers[].{name:name,exit:exitCode}}'
# Logs land in /ecs/lab. Tail them:
aws logs tail /ecs/lab --follow --since 5m
