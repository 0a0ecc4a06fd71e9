output "arn" {
  description = "ARN of the schedule."
  value       = aws_scheduler_schedule.start.arn
}

output "name" {
  description = "Name of the schedule."
  value       = aws_scheduler_schedule.start.name
}
