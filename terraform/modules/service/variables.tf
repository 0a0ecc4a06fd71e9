variable "alarm_thresholds" {
  description = "When alarms of the workflow and the functions ring; the module monitoring says what each is and checks it. Those of the endpoint are in endpoint."
  type = object({
    duration_percent              = optional(number)
    executions_failed             = optional(number)
    executions_throttled          = optional(number)
    executions_timed_out          = optional(number)
    function_throttles            = optional(number)
    low_confidence_minimum_images = optional(number)
    low_confidence_percent        = optional(number)
  })
  default  = {}
  nullable = false
}

variable "bucket" {
  description = "Data bucket of the foundation."
  type        = string
}

variable "budget_tag" {
  description = "Cost allocation tag that the budget counts; null counts the whole account. The tag must be activated in Billing, else the budget never warns."
  type = object({
    key   = string
    value = string
  })
  default = null
}

variable "budget_usd" {
  description = "US dollars that a month may cost before people are warned. Null sets no budget."
  type        = number
  default     = null
}

variable "console" {
  description = "Whether there is a console of AWS that links in messages and reports can lead to: the embedded AWS has none."
  type        = bool
  default     = true
  nullable    = false
}

variable "current_release" {
  description = "Id of the release that serves: a key of releases."
  type        = string

  validation {
    condition     = contains(keys(var.releases), var.current_release)
    error_message = "current_release is ${var.current_release}, which is none of the known releases: ${length(var.releases) == 0 ? "there is none, run `invoke train`" : join(", ", keys(var.releases))}."
  }
}

variable "drift_check" {
  description = "When it is checked whether the photos have changed, and over how many hours. Null checks never; nor is a serverless endpoint checked, which captures nothing."
  type = object({
    schedule     = optional(string, "rate(1 hour)")
    window_hours = optional(number, 24)
  })
  default = null

  validation {
    condition     = var.drift_check == null ? true : var.drift_check.window_hours >= 1 && var.drift_check.window_hours <= 48 && floor(var.drift_check.window_hours) == var.drift_check.window_hours
    error_message = "drift_check.window_hours must be a whole number from 1 to 48: within five minutes the check can read some ten thousand photos, or a day of small ones at one a second."
  }
}

variable "emails" {
  description = "Addresses that receive every message."
  type        = set(string)
  default     = []
  nullable    = false
}

variable "endpoint" {
  description = "Settings of the endpoint; the module inference_endpoint says what each is and checks it. online = false turns off what costs by the hour."
  type = object({
    alarm_thresholds = optional(object({
      errors_per_minute             = optional(number)
      model_latency_microseconds    = optional(number)
      overhead_latency_microseconds = optional(number)
    }))
    capacity = optional(object({
      invocations_per_minute = optional(number)
      maximum                = optional(number)
      minimum                = optional(number)
    }))
    data_capture_percentage = optional(number)
    deployment = optional(object({
      bake_seconds             = optional(number)
      canary_percent           = optional(number)
      strategy                 = optional(string)
      termination_wait_seconds = optional(number)
    }))
    instance_type = optional(string)
    online        = optional(bool)
    serverless = optional(object({
      max_concurrency = number
      memory_mb       = number
    }))
  })
  default  = {}
  nullable = false
}

variable "expected_traffic" {
  description = "Rings when fewer requests than these reach the endpoint in so many hours. Null expects none; an endpoint that is off expects none either."
  type = object({
    hours    = number
    requests = number
  })
  default = null
}

variable "image_limits" {
  description = "What SerializeImage accepts: bytes and pixels of an upload. side is the longer side of the PNG that it makes, before the model's own program brings it to image_shape as in training."
  type = object({
    max_bytes  = optional(number, 10485760)
    max_pixels = optional(number, 25000000)
    side       = optional(number, 224)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.image_limits.max_bytes > 0 && var.image_limits.max_pixels > 0
    error_message = "image_limits.max_bytes and image_limits.max_pixels must be above 0."
  }

  # Noise of 240 x 240 pixels makes 231 kB of base64, which the function makes smaller; Step Functions carries 262,144 bytes.
  validation {
    condition     = var.image_limits.side >= 8 && var.image_limits.side <= 240
    error_message = "image_limits.side must be between 8 and 240: a larger image may not fit into the workflow's payload."
  }
}

variable "kms_key_arn" {
  description = "ARN of the foundation's key."
  type        = string
}

variable "lambda_architecture" {
  description = "Processor that the packages were built for: arm64 or x86_64."
  type        = string
  default     = "arm64"
  nullable    = false
}

variable "lambda_packages" {
  description = "Folder with a zip for each function of lambda_src, called like it: serialize_image.zip, check_drift.zip, …"
  type        = string
}

variable "log_retention_days" {
  description = "Days that log lines are kept."
  type        = number
  default     = 30
  nullable    = false
}

variable "minimum_accuracy" {
  description = "Share of its test images that a release must get right before it may serve."
  type        = number
  default     = 0.9
  nullable    = false
}

variable "name" {
  description = "Prefix of every resource's name, and the endpoint's name."
  type        = string
}

variable "network" {
  description = "Subnets and security groups of model containers and functions: the foundation's output, which checks it."
  type = object({
    security_group_ids = set(string)
    subnet_ids         = set(string)
  })
  default = null
}

variable "permissions_boundary_arn" {
  description = "ARN of the policy that bounds every role of the service, as bootstrap makes it; null bounds nothing."
  type        = string
  default     = null
}

variable "releases" {
  description = "Retained releases by id; inference_endpoint checks the records. A baseline is what the model said, and saw, on validation: histograms as model_quality counts them."
  type = map(object({
    accuracy  = number
    algorithm = string
    baseline = optional(object({
      brightness = optional(object({ counts = list(number), edges = list(number) }))
      classes    = map(number)
      edges      = list(number)
      scores     = list(number)
      sharpness  = optional(object({ counts = list(number), edges = list(number) }))
    }))
    classes         = list(string)
    dataset_sha256  = string
    image_shape     = string
    inference_image = string
    model_data_url  = string
    model_sha256    = string
    source_revision = optional(string, "unknown")
    test_images     = number
    threshold       = number
    trained_at      = optional(string, "")
  }))
  nullable = false
}

variable "retraining" {
  description = "What starts the training of a candidate besides people: a drift, and a schedule such as cron(0 3 1 * ? *); a rate starts one at the apply. train_hours is how long its job may take, waiting for spare capacity included: give it what training.toml gives. It is announced, and never deployed."
  type = object({
    on_drift    = optional(bool, false)
    schedule    = optional(string)
    train_hours = optional(number, 3)
  })
  default  = {}
  nullable = false

  validation {
    condition     = !var.retraining.on_drift || (var.drift_check != null && var.endpoint.serverless == null)
    error_message = "retraining.on_drift needs a drift_check and an endpoint with instances, whose requests are captured: nobody else notices a drift."
  }

  validation {
    condition     = var.retraining.train_hours >= 1 && var.retraining.train_hours <= 120 && floor(var.retraining.train_hours * 3600) == var.retraining.train_hours * 3600
    error_message = "retraining.train_hours must be from 1 to 120, which is SageMaker's usual limit, and a whole number of seconds."
  }
}

variable "routing_table" {
  description = "Where the driver of each vehicle loads, and how far their orders go. It must hold every class of the current release."
  type = map(object({
    loading_bay     = string
    order_radius_km = number
  }))
  default = {
    bicycle    = { loading_bay = "A", order_radius_km = 3 }
    motorcycle = { loading_bay = "B", order_radius_km = 15 }
  }
  nullable = false
}

variable "training_role_arn" {
  description = "ARN of the foundation's role, under which a candidate is trained and evaluated."
  type        = string
}
