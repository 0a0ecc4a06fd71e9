# The documents as the real provider renders them, which needs no account: their sizes, with the longest names there are.
# Those that name the key of the states are known only after an apply; the boundary is the longest, with 5,300 characters.

provider "aws" {
  region                      = "ap-southeast-1"
  access_key                  = "none"
  secret_key                  = "none"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
}

override_data {
  target          = data.aws_caller_identity.current
  override_during = plan
  values          = { account_id = "123456789012" }
}

variables {
  environments = ["dev", "production", "staging"]
  name         = "eighteen-letters-x"
  region       = "ap-southeast-1"
  repository   = "octocat/scones"
}

run "policies_fit_into_iam" {
  command = plan

  assert {
    condition = alltrue([
      for policy in concat([aws_iam_policy.refresh], values(aws_iam_policy.apply)) :
      length(jsonencode(jsondecode(policy.policy))) <= 6144
    ])
    error_message = "A managed policy may have 6,144 characters."
  }
}
