variable "environments" {
  description = "Environments of Terraform, each with a protected environment of the same name on GitHub."
  type        = set(string)
  default     = ["dev", "prod"]
  nullable    = false

  validation {
    condition     = length(var.environments) > 0
    error_message = "There must be at least one environment, such as dev."
  }

  validation {
    condition     = alltrue([for environment in var.environments : can(regex("^[a-z][a-z0-9-]{0,8}[a-z0-9]$", environment))])
    error_message = "An environment must have 2 to 10 lower-case letters, digits and hyphens, begin with a letter and not end with a hyphen; found ${join(", ", var.environments)}."
  }

  validation {
    condition     = alltrue([for environment in var.environments : !startswith(environment, "terraform")])
    error_message = "No environment may be called terraform…: its apply role would reach what bootstrap makes."
  }
}

variable "name" {
  description = "Prefix of every name, those of the environments included: scones makes scones-dev."
  type        = string
  default     = "scones"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,16}[a-z0-9]$", var.name))
    error_message = "name must be 3 to 18 lower-case letters, digits and hyphens, begin with a letter and not end with a hyphen: with an environment it is part of bucket and role names."
  }
}

variable "noncurrent_version_retention_days" {
  description = "Days that an overwritten state can still be brought back."
  type        = number
  default     = 90
  nullable    = false

  validation {
    condition     = var.noncurrent_version_retention_days >= 30 && floor(var.noncurrent_version_retention_days) == var.noncurrent_version_retention_days
    error_message = "noncurrent_version_retention_days must be a whole number of days, at least 30: a broken state is not always seen at once."
  }
}

variable "oidc_provider_arn" {
  description = "ARN of the account's provider for GitHub, where there is one already: an account can have only one. Null makes it."
  type        = string
  default     = null

  validation {
    condition     = var.oidc_provider_arn == null || can(regex("^arn:[^:]+:iam::[0-9]{12}:oidc-provider/token\\.actions\\.githubusercontent\\.com$", var.oidc_provider_arn))
    error_message = "oidc_provider_arn must be the ARN of the provider token.actions.githubusercontent.com; `aws iam list-open-id-connect-providers` shows it."
  }
}

variable "region" {
  description = "Region of the states and of every environment: the roles reach no other."
  type        = string
  default     = "us-east-1"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region must look like us-east-1."
  }
}

variable "repository" {
  description = "GitHub repository whose workflows take the roles, as OWNER/NAME, in the letters that GitHub shows: IAM tells upper from lower case."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9]([A-Za-z0-9-]{0,37}[A-Za-z0-9])?/[A-Za-z0-9._-]{1,100}$", var.repository))
    error_message = "repository must be OWNER/NAME, without an address or a wildcard, such as octocat/scones."
  }
}
