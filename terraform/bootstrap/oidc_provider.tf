# GitHub signs a token for a job, AWS gives a role's credentials for it: no access key lies anywhere.

locals {
  issuer            = "token.actions.githubusercontent.com"
  oidc_provider_arn = coalesce(var.oidc_provider_arn, one(aws_iam_openid_connect_provider.github[*].arn))
}

# AWS checks GitHub's certificate by its own list of authorities: no thumbprints.
resource "aws_iam_openid_connect_provider" "github" {
  count = var.oidc_provider_arn == null ? 1 : 0

  url            = "https://${local.issuer}"
  client_id_list = ["sts.amazonaws.com"]
}
