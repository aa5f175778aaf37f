# 3. Deploy K8s resources
kubectl apply -f deployment.yaml
kubectl apply -f service.yaml

# 4. Check deployment status
kubectl rollout status deployment/web-app -n production

# 5. Check Pod list
kubectl get pods -n production -o wide
