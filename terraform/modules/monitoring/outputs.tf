output "alarm_name" {
  description = "Name of the composite alarm, which is all that must be watched."
  value       = aws_cloudwatch_composite_alarm.degraded.alarm_name
}

output "dashboard_url" {
  description = "Address of the dashboard."
  value       = "https://${local.region}.console.aws.amazon.com/cloudwatch/home?region=${local.region}#dashboards/dashboard/${aws_cloudwatch_dashboard.service.dashboard_name}"
}

output "topic_arn" {
  description = "ARN of the topic that people listen to."
  value       = aws_sns_topic.people.arn
}
