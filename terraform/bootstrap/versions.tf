terraform {
  required_version = ">= 1.10" # native locking of the state in S3

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }
}
