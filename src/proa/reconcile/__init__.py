"""Floor 2: views over the store's watch, work queues, the runner, leader election."""
