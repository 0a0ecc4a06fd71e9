# The embedded AWS on this machine: `invoke cloud.up` runs it, `invoke cloud.env` prints the AWS_ENDPOINT_URL variables
# that the provider honours.

terraform {
  required_version = ">= 1.10"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }

  # Beside the embedded AWS, because they go together.
  backend "local" {
    path = "../../../.local_cloud/terraform.tfstate"
  }
}

provider "aws" {
  region            = "us-east-1"
  s3_use_path_style = true # here only: there is no name service for bucket.127.0.0.1

  default_tags {
    tags = { environment = "local", project = "scones" }
  }
}

module "foundation" {
  source = "../../modules/foundation"

  force_destroy            = true # here only: `invoke stage` and `invoke train` make it all again
  key_deletion_window_days = 7
  name                     = "scones-local"
}

# Nothing serves before there is a release.
module "service" {
  source = "../../modules/service"
  count  = var.current_release == null ? 0 : 1

  bucket            = module.foundation.bucket
  console           = false # here only: no link leads anywhere
  current_release   = var.current_release
  drift_check       = {}
  emails            = var.emails
  endpoint          = { deployment = { bake_seconds = 0, termination_wait_seconds = 0 } } # a deployment here asks no alarm
  kms_key_arn       = module.foundation.kms_key_arn
  lambda_packages   = "${path.root}/../../../build/lambda/local"
  name              = module.foundation.name
  network           = module.foundation.network
  releases          = var.releases
  routing_table     = var.routing_table
  training_role_arn = module.foundation.training_role_arn
}
