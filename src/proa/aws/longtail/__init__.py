"""The long tail: AWS services that Proa does not build itself, answered by moto in one worker
process that is started on first use and whose state survives."""
