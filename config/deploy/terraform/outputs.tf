output "service_name" {
  description = "The ECS service."
  value       = aws_ecs_service.poller.name
}

output "task_role_arn" {
  description = "What the daemon may do; a key policy or a queue's policy names it."
  value       = aws_iam_role.task.arn
}

output "security_group_id" {
  description = "Of the workers."
  value       = aws_security_group.poller.id
}

output "log_group_name" {
  description = "Where the workers log to."
  value       = aws_cloudwatch_log_group.poller.name
}
