variable "bucket" {
  description = "Data bucket: the dataset, the artifacts and the answers of evaluations."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.bucket))
    error_message = "bucket must be the name of an S3 bucket."
  }
}

variable "classes" {
  description = "Classes of the release that serves, in the order of its probabilities."
  type        = list(string)

  validation {
    condition     = length(var.classes) >= 2
    error_message = "There must be at least two classes."
  }
}

variable "compare_candidate" {
  description = "The Lambda function that compares: the alias to invoke and its timeout."
  type = object({
    alias_arn       = string
    timeout_seconds = number
  })
}

variable "evaluation_instance_type" {
  description = "Instance type of the transform jobs; it must fit the processor of the release's image."
  type        = string
  default     = "ml.m5.large"
  nullable    = false

  validation {
    condition     = can(regex("^ml\\.[a-z0-9-]+\\.[a-z0-9]+$", var.evaluation_instance_type))
    error_message = "evaluation_instance_type must be an instance type of SageMaker, such as ml.m5.large."
  }
}

variable "kms_key_arn" {
  description = "ARN of the key that encrypts the bucket, the log group and the topic."
  type        = string

  validation {
    condition     = can(regex("^arn:[^:]+:kms:", var.kms_key_arn))
    error_message = "kms_key_arn must be the ARN of a KMS key."
  }
}

variable "log_retention_days" {
  description = "Days that log lines are kept."
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "log_retention_days must be a retention that CloudWatch Logs knows, such as 7, 14, 30, 90 or 365."
  }
}

variable "name" {
  description = "Prefix of every resource's name, and of the jobs'."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,27}[a-z0-9]$", var.name))
    error_message = "name must be 3 to 29 lower-case letters, digits and hyphens, begin with a letter and not end with a hyphen."
  }
}

variable "network" {
  description = "Subnets and security groups of the models that are evaluated: the foundation's output, which checks it. Null runs them in a network of AWS."
  type = object({
    security_group_ids = set(string)
    subnet_ids         = set(string)
  })
  default = null
}

variable "permissions_boundary_arn" {
  description = "ARN of the policy that bounds the roles of the state machine and of its schedule, as bootstrap makes it; null bounds nothing."
  type        = string
  default     = null

  validation {
    condition     = var.permissions_boundary_arn == null ? true : can(regex("^arn:[^:]+:iam::[^:]*:policy/", var.permissions_boundary_arn))
    error_message = "permissions_boundary_arn must be the ARN of an IAM policy."
  }
}

variable "release" {
  description = "The release that serves: what the candidate is compared with, and whose training job is the recipe."
  type = object({
    algorithm       = string
    id              = string
    inference_image = string
    model_data_url  = string
    source_revision = string
    threshold       = number
    trained_at      = string
  })

  validation {
    condition     = contains(["image-classification", "pytorch"], var.release.algorithm)
    error_message = "release.algorithm is ${var.release.algorithm}; it must be image-classification or pytorch."
  }

  validation {
    condition     = can(regex("^s3://[^/]+/models/[^/]+/", var.release.model_data_url))
    error_message = "release.model_data_url is ${var.release.model_data_url}; it must be s3://BUCKET/models/JOB/…, for the training job's name is read from it."
  }
}

variable "schedule" {
  description = "When a candidate is trained, such as cron(0 3 1 * ? *); the module schedule checks it. Null: only when somebody, or a drift, starts it."
  type        = string
  default     = null
}

variable "timeouts" {
  description = "Seconds after which the state machine gives up waiting for the training job, and for an evaluation. A job's own limits should come first."
  type = object({
    evaluation_seconds = optional(number, 3600)
    training_seconds   = optional(number, 10800)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.timeouts.evaluation_seconds >= 60 && var.timeouts.training_seconds >= 60
    error_message = "timeouts must be at least 60 seconds: a job's machine alone takes longer to start."
  }
}

variable "topic_arn" {
  description = "ARN of the topic that people listen to."
  type        = string

  validation {
    condition     = can(regex("^arn:[^:]+:sns:", var.topic_arn))
    error_message = "topic_arn must be the ARN of an SNS topic."
  }
}

variable "training_role_arn" {
  description = "ARN of the foundation's role that training and evaluation jobs run under."
  type        = string

  validation {
    condition     = can(regex("^arn:[^:]+:iam::[^:]*:role/", var.training_role_arn))
    error_message = "training_role_arn must be the ARN of an IAM role."
  }
}

variable "undelivered_queue_arn" {
  description = "ARN of the queue that keeps events and starts which no target took; its policy must name the rules."
  type        = string

  validation {
    condition     = can(regex("^arn:[^:]+:sqs:", var.undelivered_queue_arn))
    error_message = "undelivered_queue_arn must be the ARN of an SQS queue."
  }
}
