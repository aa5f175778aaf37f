# Use a public subnet and assign a public IP so it can pull from Docker Hub.
SUBNET=$(aws ec2 describe-subnets --filters Name=default-for-az,Values=true \
  --query 'Subnets[0].SubnetId' --output text)
SG=$(aws ec2 describe-security-groups --group-names default \
  --query 'SecurityGroups[0].GroupId' --output text)
aws ecs run-task --cluster lab-cluster --launch-type FARGATE \
  --task-definition lab-web \
  --network-configuration "awsvpcConfiguration={subnets=[$SUBNET],securityGroups=[$SG],assignPublicIp=ENABLED}"
