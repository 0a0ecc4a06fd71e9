variable "name" {
  description = "Beginning of the rules' names, such as scones-dev-execution."
  type        = string

  validation {
    condition     = can(regex("^[a-zA-Z0-9-_.]{1,56}$", var.name))
    error_message = "name must have 1 to 56 letters, digits, dots, hyphens and underscores: a rule's name may have 64."
  }
}

variable "state_machine_arns" {
  description = "ARNs of the state machines whose bad ends are told."
  type        = list(string)

  validation {
    condition     = length(var.state_machine_arns) > 0
    error_message = "state_machine_arns must name a state machine: without one the rules would match every machine of the account."
  }
}

variable "told_errors" {
  description = "Names of errors whose executions tell people by themselves: one failure, one message."
  type        = set(string)
  default     = []
  nullable    = false
}

variable "topic_arn" {
  description = "ARN of the topic that people listen to."
  type        = string

  validation {
    condition     = can(regex("^arn:[^:]+:sns:", var.topic_arn))
    error_message = "topic_arn must be the ARN of an SNS topic."
  }
}

variable "undelivered_queue_arn" {
  description = "ARN of the queue that keeps the events which the topic did not take; its policy must name the rules."
  type        = string

  validation {
    condition     = can(regex("^arn:[^:]+:sqs:", var.undelivered_queue_arn))
    error_message = "undelivered_queue_arn must be the ARN of an SQS queue."
  }
}
