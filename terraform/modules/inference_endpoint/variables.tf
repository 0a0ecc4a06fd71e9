variable "alarm_thresholds" {
  description = "When a guardrail alarm rings: 5XX answers a minute, and latencies (p90) in microseconds, SageMaker's unit."
  type = object({
    errors_per_minute             = optional(number, 1)
    model_latency_microseconds    = optional(number, 2000000)
    overhead_latency_microseconds = optional(number, 1000000)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.alarm_thresholds.errors_per_minute > 0
    error_message = "alarm_thresholds.errors_per_minute must be above 0."
  }

  validation {
    condition = alltrue([
      for threshold in [var.alarm_thresholds.model_latency_microseconds, var.alarm_thresholds.overhead_latency_microseconds] :
      threshold >= 1000 && threshold <= 60000000
    ])
    error_message = "Latency thresholds are in microseconds, from 1000 (1 ms) to 60000000 (60 s)."
  }
}

variable "bucket" {
  description = "Bucket that holds the models and receives the captured data."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.bucket))
    error_message = "bucket must be the name of an S3 bucket."
  }
}

# invocations_per_minute is AWS's (MAX_RPS * SAFETY_FACTOR) * 60: 20 requests a second, which is below the 22 to 50 that the
# PyTorch program answered on two shared cores, as many as ml.c5.large has, times 0.5, times 60. For your own load: raise the
# number of requests at once against one instance until the latency climbs; the rate before that is MAX_RPS.
# https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-scaling-loadtest.html
variable "capacity" {
  description = "Instances at least and at most, and the requests a minute and instance that autoscaling aims at."
  type = object({
    invocations_per_minute = optional(number, 600)
    maximum                = optional(number, 2)
    minimum                = optional(number, 1)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.capacity.minimum >= 1 && var.capacity.maximum >= var.capacity.minimum
    error_message = "capacity.minimum must be at least 1 and capacity.maximum not below it."
  }

  validation {
    condition     = var.capacity.invocations_per_minute > 0
    error_message = "capacity.invocations_per_minute must be above 0."
  }
}

variable "current_release" {
  description = "Id of the release that serves: a key of releases."
  type        = string

  validation {
    condition     = contains(keys(var.releases), var.current_release)
    error_message = "current_release is ${var.current_release}, which is none of the known releases: ${join(", ", keys(var.releases))}."
  }
}

variable "data_capture_percentage" {
  description = "Share of requests whose input and output go to data_capture/. Null captures all on instances, and none on a serverless endpoint, which cannot."
  type        = number
  default     = null

  validation {
    condition     = var.data_capture_percentage == null ? true : var.data_capture_percentage >= 0 && var.data_capture_percentage <= 100
    error_message = "data_capture_percentage must be between 0 and 100."
  }
}

variable "deployment" {
  description = "How an update moves traffic: ALL_AT_ONCE, or CANARY with a share first; seconds under watch by the alarms (bake), seconds before the old instances go."
  type = object({
    bake_seconds             = optional(number, 300)
    canary_percent           = optional(number, 50)
    strategy                 = optional(string, "ALL_AT_ONCE")
    termination_wait_seconds = optional(number, 60)
  })
  default  = {}
  nullable = false

  validation {
    condition     = contains(["ALL_AT_ONCE", "CANARY"], var.deployment.strategy)
    error_message = "deployment.strategy must be ALL_AT_ONCE or CANARY."
  }

  validation {
    condition     = var.deployment.strategy != "CANARY" || var.capacity.minimum >= 2
    error_message = "A canary needs capacity.minimum of 2 or more: its share is taken from the instances."
  }

  validation {
    condition     = var.deployment.canary_percent >= 1 && var.deployment.canary_percent <= 50
    error_message = "deployment.canary_percent must be between 1 and 50."
  }

  validation {
    condition     = var.deployment.bake_seconds >= 0 && var.deployment.bake_seconds <= 3600 && var.deployment.termination_wait_seconds >= 0 && var.deployment.termination_wait_seconds <= 3600
    error_message = "deployment.bake_seconds and deployment.termination_wait_seconds must be between 0 and 3600."
  }
}

variable "instance_type" {
  description = "Instance type of the endpoint. It must fit the processor of the release's image. A serverless endpoint has none."
  type        = string
  default     = "ml.c5.large"
  nullable    = false

  # The families that SageMaker hosts models on. Guardrails do not work on inf1, so a release could not be rolled back.
  validation {
    condition     = can(regex("^ml\\.(c4|c5d?|c6g[dn]?|c6in?|c7[gi]|c8g|dl1|g4dn|g5|g6e?|g7e?|inf2|m4|m5d?|m6gd?|m6i|m7i|m8g|p2|p3|p4de?|p5|p5en?|p6-b[23]00|r5d?|r6gd?|r6i|r7gd|r7i|r8g|t2|trn1n?|trn2)\\.(medium|large|[0-9]*xlarge)$", var.instance_type))
    error_message = "instance_type is ${var.instance_type}, on which SageMaker hosts no models with guardrails. Choose one such as ml.c5.large, ml.c7g.large (for arm64 images) or ml.g5.xlarge (for GPU images)."
  }
}

variable "kms_key_arn" {
  description = "ARN of the key that encrypts artifacts, captured data, volumes and logs."
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

variable "minimum_accuracy" {
  description = "Share of its test images that a release must get right before it may serve."
  type        = number

  validation {
    condition     = var.minimum_accuracy >= 0 && var.minimum_accuracy <= 1
    error_message = "minimum_accuracy must be between 0 and 1."
  }
}

variable "name" {
  description = "Name of the endpoint and prefix of everything that belongs to it."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,27}[a-z0-9]$", var.name))
    error_message = "name must be 3 to 29 lower-case letters, digits and hyphens, begin with a letter and not end with a hyphen."
  }
}

variable "network" {
  description = "Subnets and security groups of the model containers; the subnets need a way to S3, ECR and CloudWatch. Null runs them in a network of AWS."
  type = object({
    security_group_ids = set(string)
    subnet_ids         = set(string)
  })
  default = null

  validation {
    condition     = var.network == null ? true : alltrue([for id in var.network.subnet_ids : can(regex("^subnet-[0-9a-f]{8,17}$", id))]) && length(var.network.subnet_ids) >= 1 && length(var.network.subnet_ids) <= 16
    error_message = "network.subnet_ids must hold 1 to 16 subnets, such as subnet-0123456789abcdef0. For no network of your own leave network out."
  }

  validation {
    condition     = var.network == null ? true : alltrue([for id in var.network.security_group_ids : can(regex("^sg-[0-9a-f]{8,17}$", id))]) && length(var.network.security_group_ids) >= 1 && length(var.network.security_group_ids) <= 5
    error_message = "network.security_group_ids must hold 1 to 5 security groups, such as sg-0123456789abcdef0. For no network of your own leave network out."
  }
}

variable "online" {
  description = "Whether the endpoint runs. false stops its cost and keeps models and configurations, so that true brings it back as it was."
  type        = bool
  default     = true
  nullable    = false
}

variable "permissions_boundary_arn" {
  description = "ARN of the policy that bounds the models' role, as bootstrap makes it; null bounds nothing."
  type        = string
  default     = null

  validation {
    condition     = var.permissions_boundary_arn == null ? true : can(regex("^arn:[^:]+:iam::[^:]*:policy/", var.permissions_boundary_arn))
    error_message = "permissions_boundary_arn must be the ARN of an IAM policy."
  }
}

variable "releases" {
  description = "Retained releases by id."
  type = map(object({
    accuracy        = number
    algorithm       = string
    classes         = list(string)
    image_shape     = string
    inference_image = string
    model_data_url  = string
    threshold       = number
  }))
  nullable = false

  validation {
    condition     = alltrue([for id in keys(var.releases) : can(regex("^[a-z0-9](-?[a-z0-9])*$", id)) && length(id) <= 26])
    error_message = "A release id must be at most 26 lower-case letters, digits and single hyphens: it is part of the model's name. Known: ${join(", ", keys(var.releases))}."
  }

  validation {
    condition     = alltrue([for release in var.releases : contains(["image-classification", "pytorch"], release.algorithm)])
    error_message = "algorithm must be image-classification or pytorch; found ${join(", ", distinct([for id, release in var.releases : "${release.algorithm} (${id})"]))}."
  }

  validation {
    condition     = alltrue([for release in var.releases : release.threshold > 0 && release.threshold <= 1])
    error_message = "threshold is a confidence, above 0 and at most 1; found ${join(", ", [for id, release in var.releases : "${release.threshold} (${id})"])}."
  }

  validation {
    condition     = alltrue([for release in var.releases : release.accuracy >= 0 && release.accuracy <= 1])
    error_message = "accuracy is a share of the test images, between 0 and 1; found ${join(", ", [for id, release in var.releases : "${release.accuracy} (${id})"])}."
  }

  validation {
    condition     = alltrue([for release in var.releases : can(regex("^[1-9][0-9]*,[1-9][0-9]*,[1-9][0-9]*$", release.image_shape))])
    error_message = "image_shape must be channels,height,width, such as 3,32,32; found ${join(", ", [for id, release in var.releases : "${release.image_shape} (${id})"])}."
  }

  validation {
    condition     = alltrue([for release in var.releases : length(release.classes) >= 2 && length(distinct(release.classes)) == length(release.classes)])
    error_message = "A release needs at least two classes, each once; found ${join("; ", [for id, release in var.releases : "${join(", ", release.classes)} (${id})"])}."
  }

  validation {
    condition     = alltrue([for release in var.releases : can(regex("^[0-9]{12}\\.dkr\\.ecr\\.[a-z0-9-]+\\.[a-z.]+/[^:@]+[:@].", release.inference_image))])
    error_message = "inference_image must be an image in ECR with a tag or digest, such as 763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-inference:2.6-cpu-py312; found ${join(", ", [for id, release in var.releases : "${release.inference_image} (${id})"])}."
  }

  validation {
    condition     = alltrue([for release in var.releases : startswith(release.model_data_url, "s3://${var.bucket}/models/")])
    error_message = "model_data_url must lie under s3://${var.bucket}/models/, which is all that the model's role may read; found ${join(", ", [for id, release in var.releases : "${release.model_data_url} (${id})"])}."
  }
}

variable "serverless" {
  description = "Makes the endpoint serverless, for an environment that idles: memory of each worker, and how many work at once. Nothing is billed between requests, but it goes without data capture, canary, automatic rollback, network isolation and network, and capacity, deployment and instance_type mean nothing. Null runs instances. A change of kind replaces the endpoint, for SageMaker cannot convert it: the new one has another name, and the old one answers until it is there."
  type = object({
    max_concurrency = number
    memory_mb       = number
  })
  default = null

  validation {
    condition     = var.serverless == null ? true : contains([1024, 2048, 3072, 4096, 5120, 6144], var.serverless.memory_mb)
    error_message = "serverless.memory_mb must be 1024, 2048, 3072, 4096, 5120 or 6144."
  }

  validation {
    condition     = var.serverless == null ? true : var.serverless.max_concurrency >= 1 && var.serverless.max_concurrency <= 200 && floor(var.serverless.max_concurrency) == var.serverless.max_concurrency
    error_message = "serverless.max_concurrency must be a whole number from 1 to 200."
  }

  validation {
    condition     = var.serverless == null || coalesce(var.data_capture_percentage, 0) == 0
    error_message = "A serverless endpoint captures no data: leave data_capture_percentage out, or serverless."
  }

  validation {
    condition     = var.serverless == null || var.deployment.strategy != "CANARY"
    error_message = "A serverless endpoint knows no canary: leave deployment.strategy out, or serverless."
  }

  validation {
    condition     = var.serverless == null || var.network == null
    error_message = "A serverless endpoint cannot run in a network of yours: leave network out, or serverless."
  }
}
