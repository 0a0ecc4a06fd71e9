module "failure_notice" {
  source = "../failure_notice"

  name                  = "${var.name}-execution"
  state_machine_arns    = local.state_machine_arns
  told_errors           = ["ThresholdConfidenceNotMet"] # its execution has asked for a human look
  topic_arn             = var.topic_arn
  undelivered_queue_arn = aws_sqs_queue.undelivered.arn
}

# They were made here before there was another workflow.
moved {
  from = aws_cloudwatch_event_rule.failure
  to   = module.failure_notice.aws_cloudwatch_event_rule.failure
}

moved {
  from = aws_cloudwatch_event_target.failure
  to   = module.failure_notice.aws_cloudwatch_event_target.failure
}
