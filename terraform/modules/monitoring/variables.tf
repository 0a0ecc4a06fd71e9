variable "budget_tag" {
  description = "Cost allocation tag that the budget counts; null counts the whole account. Activate the tag first, under Billing > Cost allocation tags: until then AWS books no cost on it, and the budget never warns."
  type = object({
    key   = string
    value = string
  })
  default = null

  validation {
    condition     = var.budget_tag == null ? true : trimspace(var.budget_tag.key) != "" && trimspace(var.budget_tag.value) != "" && !strcontains("${var.budget_tag.key}${var.budget_tag.value}", "$")
    error_message = "budget_tag needs a key and a value, neither with a $, such as { key = \"environment\", value = \"prod\" }."
  }
}

variable "budget_usd" {
  description = "US dollars that a month may cost: people are told at 80 % spent, and when the forecast passes 100 %. Null sets no budget."
  type        = number
  default     = null

  validation {
    condition     = var.budget_usd == null ? true : var.budget_usd > 0
    error_message = "budget_usd must be above 0, or null for no budget."
  }
}

variable "confidence_function" {
  description = "Key in functions of the one that emits Confidence and LowConfidence, in the namespace that is called as name."
  type        = string
  default     = "filter_confidence"
  nullable    = false

  validation {
    condition     = contains(keys(var.functions), var.confidence_function)
    error_message = "confidence_function must be one of the functions: ${join(", ", keys(var.functions))}."
  }
}

variable "drift_function" {
  description = "Key in functions of the one that emits Drift and PopulationStabilityIndex, in the namespace that is called as name. Null: nobody checks."
  type        = string
  default     = null

  validation {
    condition     = var.drift_function == null ? true : contains(keys(var.functions), var.drift_function)
    error_message = "drift_function must be one of the functions, or null: ${join(", ", keys(var.functions))}."
  }
}

variable "emails" {
  description = "Addresses that receive every message; each confirms its subscription once."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for email in var.emails : can(regex("^[^@ ]+@[^@ ]+\\.[^@ ]+$", email))])
    error_message = "Every address must look like name@example.com."
  }
}

variable "endpoint" {
  description = "Name of the endpoint and of its variant, for the dashboard and the alarm on silence."
  type = object({
    name    = string
    variant = string
  })
}

variable "endpoint_alarm_names" {
  description = "Names of the endpoint's guardrail alarms, which are part of the composite alarm."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "expected_traffic" {
  description = "Rings when fewer requests than these reach the endpoint in so many hours. Null, where nobody need call, such as in dev: silence is no trouble then."
  type = object({
    hours    = number
    requests = number
  })
  default = null

  validation {
    condition     = var.expected_traffic == null ? true : contains(range(1, 25), var.expected_traffic.hours)
    error_message = "expected_traffic.hours must be a whole number from 1 to 24, the longest period of an alarm."
  }

  validation {
    condition     = var.expected_traffic == null ? true : var.expected_traffic.requests >= 1
    error_message = "expected_traffic.requests must be at least 1; set expected_traffic to null to expect none."
  }
}

variable "functions" {
  description = "The Lambda functions by key: name, seconds after which Lambda stops them, how many errors in five minutes are too many, and whether images wait for them. A function that is called now and then shows slowness and throttles as errors, and has no alarm on them."
  type = map(object({
    name             = string
    errors_threshold = optional(number, 3)
    serves_images    = optional(bool, true)
    timeout_seconds  = number
  }))

  validation {
    condition     = alltrue([for function in var.functions : function.errors_threshold >= 1])
    error_message = "errors_threshold must be at least 1."
  }

  validation {
    condition     = alltrue([for function in var.functions : function.timeout_seconds >= 1 && function.timeout_seconds <= 900])
    error_message = "timeout_seconds must be between 1 and 900, as Lambda allows."
  }
}

variable "kms_key_arn" {
  description = "ARN of the key that encrypts the topic."
  type        = string

  validation {
    condition     = can(regex("^arn:[^:]+:kms:", var.kms_key_arn))
    error_message = "kms_key_arn must be the ARN of a KMS key."
  }
}

variable "name" {
  description = "Prefix of every resource's name."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,27}[a-z0-9]$", var.name))
    error_message = "name must be 3 to 29 lower-case letters, digits and hyphens, begin with a letter and not end with a hyphen."
  }
}

variable "publisher_role_arns" {
  description = "ARNs of the roles that publish to the topic: of state machines and functions."
  type        = list(string)

  validation {
    condition     = length(var.publisher_role_arns) > 0
    error_message = "publisher_role_arns must name the state machine's role, which asks for a human look."
  }
}

variable "publisher_rule_arns" {
  description = "ARNs of the EventBridge rules that publish to the topic."
  type        = list(string)
}

variable "state_machine_arn" {
  description = "ARN of the state machine whose executions are watched."
  type        = string
}

variable "thresholds" {
  description = "When alarms ring: executions and throttles of functions are counted over five minutes, low confidence over an hour in which at least so many images were judged, duration is a share of the function's timeout."
  type = object({
    duration_percent              = optional(number, 80)
    executions_failed             = optional(number, 10)
    executions_throttled          = optional(number, 10)
    executions_timed_out          = optional(number, 1)
    function_throttles            = optional(number, 10)
    low_confidence_minimum_images = optional(number, 20)
    low_confidence_percent        = optional(number, 40) # twice the share that calibration leaves to people
  })
  default  = {}
  nullable = false

  validation {
    condition = alltrue([
      for threshold in ["executions_failed", "executions_throttled", "executions_timed_out", "function_throttles", "low_confidence_minimum_images"] :
      var.thresholds[threshold] >= 1
    ])
    error_message = "Counts in thresholds must be at least 1."
  }

  validation {
    condition = alltrue([
      for threshold in ["duration_percent", "low_confidence_percent"] :
      var.thresholds[threshold] > 0 && var.thresholds[threshold] <= 100
    ])
    error_message = "Percentages in thresholds must be above 0 and at most 100."
  }
}

variable "undelivered_queue" {
  description = "Name of the queue that keeps events and starts which no target took."
  type        = string
}
