"""EC2's part that containers touch: VPCs, subnets, security groups, interfaces, Instances."""
