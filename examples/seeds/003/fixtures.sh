# What the article takes for granted: a cluster, the execution role, the log group, a subnet and
# a security group whose ids stand where the article writes subnet-xxx and sg-xxx.
export AWS_DEFAULT_REGION=ap-northeast-2
aws ecs create-cluster --cluster-name my-cluster
aws iam create-role --role-name ecsTaskExecutionRole \
  --assume-role-policy-document '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"}]}'
aws iam attach-role-policy --role-name ecsTaskExecutionRole \
  --policy-arn arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy
aws logs create-log-group --log-group-name /ecs/web-app
SUBNET=$(aws ec2 describe-subnets --filters Name=default-for-az,Values=true \
  --query 'Subnets[0].SubnetId' --output text)
SG=$(aws ec2 describe-security-groups --group-names default \
  --query 'SecurityGroups[0].GroupId' --output text)
