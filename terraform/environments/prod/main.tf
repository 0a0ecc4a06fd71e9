# What drivers meet: two instances or more, and a canary before a new release takes all traffic.

terraform {
  required_version = ">= 1.10"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }

  # Bucket, key and region come from bootstrap: `terraform init -backend-config=backend.hcl`.
  backend "s3" {
    key          = "prod/terraform.tfstate"
    encrypt      = true
    use_lockfile = true
  }
}

provider "aws" {
  region = "us-east-1"

  default_tags {
    tags = { environment = "prod", project = "scones" }
  }
}

module "foundation" {
  source = "../../modules/foundation"

  name = "scones-prod"
}

# Nothing serves before there is a release.
module "service" {
  source = "../../modules/service"
  count  = var.current_release == null ? 0 : 1

  bucket          = module.foundation.bucket
  current_release = var.current_release
  emails          = var.emails
  endpoint = {
    capacity   = { minimum = 2, maximum = 8 }
    deployment = { strategy = "CANARY", canary_percent = 50, bake_seconds = 600 }
  }
  kms_key_arn      = module.foundation.kms_key_arn
  lambda_packages  = "${path.root}/../../../build/lambda/aws"
  minimum_accuracy = 0.95
  name             = module.foundation.name
  releases         = var.releases
  routing_table    = var.routing_table
}
