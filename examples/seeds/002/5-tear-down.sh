aws ecs stop-task --cluster lab-cluster --task $(aws ecs list-tasks --cluster lab-cluster --query 'taskArns[0]' --output text)
aws ecs delete-cluster --cluster lab-cluster
aws iam detach-role-policy --role-name lab-task-exec --policy-arn arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy
aws iam delete-role --role-name lab-task-exec
aws logs delete-log-group --log-group-name /ecs/lab
