# What Lambda needs to connect the function with a network of ours.
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  ec2_arn = "arn:${data.aws_partition.current.partition}:ec2:${data.aws_region.current.name}"

  function_arn   = "arn:${data.aws_partition.current.partition}:lambda:${data.aws_region.current.name}:${data.aws_caller_identity.current.account_id}:function:${var.name}"
  interface_arns = "${local.ec2_arn}:${data.aws_caller_identity.current.account_id}:network-interface/*"
  subnet_arns    = var.network == null ? [] : [for id in var.network.subnet_ids : "${local.ec2_arn}:*:subnet/${id}"]
}

resource "aws_iam_role_policy" "network" {
  count = var.network == null ? 0 : 1

  name   = "network"
  role   = aws_iam_role.execution.id
  policy = data.aws_iam_policy_document.network[0].json
}

data "aws_iam_policy_document" "network" {
  count = var.network == null ? 0 : 1

  # An interface has no name before it is there, and a subnet may be shared by another account.
  statement {
    sid     = "CreateInterfaces"
    actions = ["ec2:CreateNetworkInterface"]
    resources = concat(
      [local.interface_arns],
      local.subnet_arns,
      [for id in var.network.security_group_ids : "${local.ec2_arn}:*:security-group/${id}"],
    )
  }

  # The addresses of those interfaces, in our subnets alone.
  statement {
    sid       = "AssignAddresses"
    actions   = ["ec2:AssignPrivateIpAddresses", "ec2:UnassignPrivateIpAddresses"]
    resources = [local.interface_arns]

    condition {
      test     = "ArnLike"
      variable = "ec2:Subnet"
      values   = local.subnet_arns
    }
  }

  # AWS documents that Lambda may not reach the network unless this covers all resources of the account.
  statement {
    sid       = "DeleteInterfaces"
    actions   = ["ec2:DeleteNetworkInterface"]
    resources = ["${local.ec2_arn}:${data.aws_caller_identity.current.account_id}:*/*"]
  }

  # EC2's Describe actions know no resources.
  statement {
    sid       = "LookUpNetwork"
    actions   = ["ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets"]
    resources = ["*"]
  }

  # All of this is for Lambda as it sets the function up: the function's own code may do none of it.
  statement {
    sid    = "DenyToOwnCode"
    effect = "Deny"
    actions = [
      "ec2:AssignPrivateIpAddresses",
      "ec2:CreateNetworkInterface",
      "ec2:DeleteNetworkInterface",
      "ec2:DescribeNetworkInterfaces",
      "ec2:DescribeSubnets",
      "ec2:UnassignPrivateIpAddresses",
    ]
    resources = ["*"]

    condition {
      test     = "ArnEquals"
      variable = "lambda:SourceFunctionArn"
      values   = [local.function_arn]
    }
  }
}
