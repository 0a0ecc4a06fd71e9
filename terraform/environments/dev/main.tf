# Where a release is tried: one instance, which a new release replaces all at once.

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
    key          = "dev/terraform.tfstate"
    encrypt      = true
    use_lockfile = true
  }
}

provider "aws" {
  region = "us-east-1"

  default_tags {
    tags = { environment = "dev", project = "scones" }
  }
}

data "aws_caller_identity" "current" {}

locals {
  # Bootstrap lets the apply role make roles within this boundary only.
  permissions_boundary_arn = "arn:aws:iam::${data.aws_caller_identity.current.account_id}:policy/scones-terraform-boundary"
}

module "foundation" {
  source = "../../modules/foundation"

  name                     = "scones-dev"
  permissions_boundary_arn = local.permissions_boundary_arn
}

# Nothing serves before there is a release.
module "service" {
  source = "../../modules/service"
  count  = var.current_release == null ? 0 : 1

  bucket                   = module.foundation.bucket
  budget_usd               = 150 # of the whole account, unless budget_tag narrows it
  current_release          = var.current_release
  drift_check              = {} # hourly, over a day
  emails                   = var.emails
  endpoint                 = { deployment = { strategy = "ALL_AT_ONCE" } }
  kms_key_arn              = module.foundation.kms_key_arn
  lambda_packages          = "${path.root}/../../../build/lambda/aws"
  minimum_accuracy         = 0.9
  name                     = module.foundation.name
  network                  = module.foundation.network
  permissions_boundary_arn = local.permissions_boundary_arn
  releases                 = var.releases
  routing_table            = var.routing_table
  training_role_arn        = module.foundation.training_role_arn
}
