#!/bin/sh
# Deploys the demo under both APIs with the standard clients and prints what runs where.
# `make up` calls it; it may be run again at any time.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
proa=$here/../../.venv/bin/proa
eval "$("$proa" env)"

role=arn:aws:iam::000000000000:role/demo-task-exec
aws iam get-role --role-name demo-task-exec >/dev/null 2>&1 || {
    aws iam create-role --role-name demo-task-exec --assume-role-policy-document \
        '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"}]}' >/dev/null
    aws iam attach-role-policy --role-name demo-task-exec \
        --policy-arn arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy
}
kubectl apply -f "$here/kubernetes.yaml" >/dev/null

status=$(aws ecs describe-services --services demo-web --query 'services[0].status' --output text)
if [ "$status" != ACTIVE ]; then
    aws ecs register-task-definition --execution-role-arn "$role" \
        --cli-input-json "file://$here/task-definition.json" >/dev/null
    subnet=$(aws ec2 describe-subnets --filters Name=default-for-az,Values=true \
        --query 'Subnets[0].SubnetId' --output text)
    aws ecs create-service --service-name demo-web --task-definition demo-web --desired-count 2 \
        --launch-type FARGATE \
        --network-configuration "awsvpcConfiguration={subnets=[$subnet]}" >/dev/null
fi
kubectl rollout status deployment/demo-web -n demo --timeout=60s >/dev/null
aws ecs wait services-stable --services demo-web
"$proa" status
