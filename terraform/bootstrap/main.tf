# Once per AWS account, by a person who administers it: where the states lie, and who may change what from GitHub.
#
#   terraform init && terraform apply -var repository=OWNER/NAME
#   terraform output -raw backend > ../environments/dev/backend.hcl   # the same file for every environment
#
# The state of this folder is local at first, for its bucket does not exist yet. To keep it in the bucket from then on:
#
#   terraform output -raw backend > backend.hcl
#   echo 'terraform { backend "s3" { key = "bootstrap/terraform.tfstate", encrypt = true, use_lockfile = true } }' |
#     terraform fmt - > backend.tf
#   terraform init -migrate-state -backend-config=backend.hcl
#
# No role made here may read or write that key: bootstrap stays in the hands of people.

provider "aws" {
  region = var.region

  default_tags {
    tags = { project = var.name } # no environment: the apply roles administer keys by that tag
  }
}

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

locals {
  account_id = data.aws_caller_identity.current.account_id
  partition  = data.aws_partition.current.partition
  regional   = "${var.region}:${local.account_id}" # the middle of most ARNs

  # Prefix of all that is made here, and of nothing that an environment makes: none may be called "terraform…".
  prefix = "${var.name}-terraform"

  environments = { for environment in var.environments : environment => "${var.name}-${environment}" }

  backend = <<-EOT
    bucket     = "${local.state_bucket}"
    kms_key_id = "${aws_kms_key.state.arn}"
    region     = "${var.region}"
  EOT
}
