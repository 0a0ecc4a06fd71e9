# Statements as they are written, and what is refused; policies.tftest.hcl looks at the rendered documents.

mock_provider "aws" {
  override_during = plan

  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }

  mock_data "aws_iam_policy_document" {
    defaults = { json = "{\"Version\":\"2012-10-17\",\"Statement\":[]}" }
  }

  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }

  mock_resource "aws_iam_openid_connect_provider" {
    defaults = { arn = "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com" }
  }

  mock_resource "aws_iam_policy" {
    defaults = { arn = "arn:aws:iam::123456789012:policy/scones-terraform-boundary" }
  }

  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/scones-terraform-plan" }
  }

  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:us-east-1:123456789012:key/00000000-0000-0000-0000-000000000000" }
  }
}

variables {
  repository = "octocat/scones"
}

run "states_are_kept_encrypted_and_closed" {
  command = plan

  assert {
    condition     = aws_s3_bucket.state.bucket == "scones-terraform-123456789012-state"
    error_message = "The bucket's name must hold the account, for bucket names are global."
  }

  assert {
    condition     = aws_s3_bucket_versioning.state.versioning_configuration[0].status == "Enabled"
    error_message = "A broken state must be brought back from its older version."
  }

  assert {
    condition = one([
      for rule in aws_s3_bucket_server_side_encryption_configuration.state.rule :
      one(rule.apply_server_side_encryption_by_default).kms_master_key_id
    ]) == aws_kms_key.state.arn
    error_message = "States must be encrypted with the key of the states."
  }

  assert {
    condition = alltrue([
      aws_s3_bucket_public_access_block.state.block_public_acls,
      aws_s3_bucket_public_access_block.state.block_public_policy,
      aws_s3_bucket_public_access_block.state.ignore_public_acls,
      aws_s3_bucket_public_access_block.state.restrict_public_buckets,
      aws_s3_bucket_ownership_controls.state.rule[0].object_ownership == "BucketOwnerEnforced",
    ])
    error_message = "The bucket must not be public in any way, nor know access control lists."
  }

  assert {
    condition = toset([
      for statement in data.aws_iam_policy_document.state_bucket.statement : one(statement.condition).variable
      if statement.effect == "Deny"
    ]) == toset(["aws:SecureTransport", "s3:x-amz-server-side-encryption-aws-kms-key-id"])
    error_message = "The bucket must refuse plain HTTP, and whatever is not encrypted with the key of the states."
  }
}

run "backend_file_names_bucket_key_and_region" {
  command = plan

  variables {
    region = "eu-central-1"
  }

  assert {
    condition     = output.backend == <<-EOT
      bucket     = "scones-terraform-123456789012-state"
      kms_key_id = "arn:aws:kms:us-east-1:123456789012:key/00000000-0000-0000-0000-000000000000"
      region     = "eu-central-1"
    EOT
    error_message = "The output backend must be the text of backend.hcl."
  }
}

run "plan_role_is_for_pull_requests_of_this_repository_alone" {
  command = plan

  assert {
    condition = {
      for condition in one(data.aws_iam_policy_document.plan_trust.statement).condition :
      "${condition.test} ${condition.variable}" => condition.values
      } == {
      "StringEquals token.actions.githubusercontent.com:aud" = tolist(["sts.amazonaws.com"])
      "StringEquals token.actions.githubusercontent.com:sub" = tolist(["repo:octocat/scones:pull_request"])
    }
    error_message = "The plan role must trust pull requests of the repository, by equality, and nothing else."
  }

  assert {
    condition     = aws_iam_role.plan.permissions_boundary == aws_iam_policy.boundary.arn
    error_message = "The plan role must carry the boundary."
  }
}

run "drift_role_is_for_the_main_branch_alone" {
  command = plan

  assert {
    condition = {
      for condition in one(data.aws_iam_policy_document.drift_trust.statement).condition :
      "${condition.test} ${condition.variable}" => condition.values
      } == {
      "StringEquals token.actions.githubusercontent.com:aud" = tolist(["sts.amazonaws.com"])
      "StringEquals token.actions.githubusercontent.com:sub" = tolist(["repo:octocat/scones:ref:refs/heads/main"])
    }
    error_message = "The drift role must trust the main branch of the repository, by equality, and nothing else."
  }

  assert {
    condition     = aws_iam_role.drift.permissions_boundary == aws_iam_policy.boundary.arn
    error_message = "The drift role must carry the boundary."
  }
}

run "train_roles_write_data_and_change_nothing_that_serves" {
  command = plan

  assert {
    condition     = alltrue([for role in aws_iam_role.train : role.permissions_boundary == aws_iam_policy.boundary.arn])
    error_message = "The train roles must carry the boundary."
  }

  assert {
    condition = alltrue([
      for action in flatten([for document in data.aws_iam_policy_document.train : document.statement[*].actions]) :
      !can(regex("Endpoint|^iam:(Create|Put|Attach)|^s3:(Delete|Put)Bucket", action))
    ])
    error_message = "The train roles must change no endpoint, role or bucket."
  }
}

run "apply_roles_are_each_for_one_protected_environment" {
  command = plan

  variables {
    environments = ["dev", "prod", "staging"]
  }

  assert {
    condition     = toset(keys(output.apply_role_arns)) == toset(["dev", "prod", "staging"])
    error_message = "Every environment must have an apply role."
  }

  assert {
    condition = alltrue([
      for environment, document in data.aws_iam_policy_document.apply_trust : {
        for condition in one(document.statement).condition :
        "${condition.test} ${condition.variable}" => condition.values
        } == {
        "StringEquals token.actions.githubusercontent.com:aud" = tolist(["sts.amazonaws.com"])
        "StringEquals token.actions.githubusercontent.com:sub" = tolist(["repo:octocat/scones:environment:${environment}"])
      }
    ])
    error_message = "An apply role must trust the environment of its name, by equality, and nothing else."
  }

  assert {
    condition     = alltrue([for role in aws_iam_role.apply : role.permissions_boundary == aws_iam_policy.boundary.arn])
    error_message = "The apply roles must carry the boundary."
  }
}

run "no_role_has_a_wildcard_action" {
  command = plan

  assert {
    condition = alltrue([
      for statement in flatten([
        data.aws_iam_policy_document.plan_state.statement,
        data.aws_iam_policy_document.refresh.statement,
        values(data.aws_iam_policy_document.apply_foundation)[*].statement,
        values(data.aws_iam_policy_document.apply_monitoring)[*].statement,
        values(data.aws_iam_policy_document.apply_service)[*].statement,
        values(data.aws_iam_policy_document.apply_state)[*].statement,
      ]) :
      statement.not_actions == null && alltrue([for action in statement.actions : !strcontains(action, "*")])
    ])
    error_message = "The roles' actions must be enumerated."
  }

  # The boundary is a ceiling over whole services, and over names of this project.
  assert {
    condition     = !contains(flatten([for statement in data.aws_iam_policy_document.boundary.statement : statement.actions == null ? [] : tolist(statement.actions)]), "*")
    error_message = "The boundary must not allow everything."
  }

  assert {
    condition = alltrue([
      for statement in data.aws_iam_policy_document.boundary.statement :
      length(statement.condition) > 0 || alltrue([for action in statement.actions : !endswith(action, ":*")])
      if statement.effect != "Deny" && contains(coalesce(statement.resources, []), "*")
    ])
    error_message = "The boundary must not allow a whole service on everything."
  }
}

run "plan_role_writes_nothing_but_the_lock" {
  command = plan

  assert {
    condition = alltrue([
      for action in flatten([for statement in data.aws_iam_policy_document.refresh.statement : tolist(statement.actions)]) :
      can(regex("^[a-z0-9-]+:(Describe|Get|List|Validate|View)", action)) && action != "s3:GetObject"
    ])
    error_message = "A refresh must read settings alone: nothing is written, and no data is read."
  }

  assert {
    condition = alltrue(flatten([
      for statement in data.aws_iam_policy_document.plan_state.statement : [
        for resource in statement.resources : endswith(resource, ".tflock")
      ] if anytrue([for action in statement.actions : !can(regex("^(kms:(Decrypt|GenerateDataKey)|s3:(GetObject|ListBucket))$", action))])
    ]))
    error_message = "The plan role may write the lock and nothing else."
  }
}

run "apply_role_reaches_its_own_environment_alone" {
  command = plan

  assert {
    condition = alltrue([
      for statement in concat(
        tolist(data.aws_iam_policy_document.apply_foundation["dev"].statement),
        tolist(data.aws_iam_policy_document.apply_monitoring["dev"].statement),
        tolist(data.aws_iam_policy_document.apply_service["dev"].statement),
        tolist(data.aws_iam_policy_document.apply_state["dev"].statement),
      ) : !strcontains(jsonencode(statement), "prod")
    ])
    error_message = "What may change dev must not reach prod."
  }

  assert {
    condition = alltrue(flatten([
      for statement in data.aws_iam_policy_document.apply_state["dev"].statement : [
        for resource in statement.resources : startswith(resource, "arn:aws:s3:::scones-terraform-123456789012-state/dev/terraform.tfstate")
      ] if contains(statement.actions, "s3:PutObject") || contains(statement.actions, "s3:DeleteObject")
    ]))
    error_message = "What may change dev must write no other state."
  }

  assert {
    condition = alltrue([
      for statement in data.aws_iam_policy_document.apply_state["dev"].statement :
      alltrue([for resource in statement.resources : endswith(resource, ".tflock")])
      if contains(statement.actions, "s3:DeleteObject")
    ])
    error_message = "A state must never be deleted."
  }
}

run "roles_are_made_under_the_boundary_alone" {
  command = plan

  assert {
    condition = alltrue([
      for statement in data.aws_iam_policy_document.apply_foundation["prod"].statement :
      anytrue([
        for condition in statement.condition : condition.test == "StringEquals" &&
        condition.variable == "iam:PermissionsBoundary" &&
        condition.values == tolist([output.permissions_boundary_arn])
      ])
      if length(setintersection(statement.actions, ["iam:CreateRole", "iam:PutRolePermissionsBoundary", "iam:PutRolePolicy"])) > 0
    ])
    error_message = "A role must not get permissions without the boundary."
  }

  assert {
    condition = one([
      for statement in data.aws_iam_policy_document.boundary.statement : one(statement.condition).test
      if statement.effect == "Deny" && contains(coalesce(statement.actions, []), "iam:CreateRole")
    ]) == "StringNotEquals"
    error_message = "The boundary itself must refuse roles without the boundary."
  }

  assert {
    condition = alltrue([
      for statement in data.aws_iam_policy_document.apply_foundation["prod"].statement :
      one(statement.condition).variable == "iam:PassedToService" && one(statement.resources) == "arn:aws:iam::123456789012:role/scones-prod-*"
      if contains(statement.actions, "iam:PassRole")
    ])
    error_message = "Roles of the environment alone may be passed, to named services alone."
  }
}

run "schedules_and_their_roles_are_those_of_the_environment" {
  command = plan

  assert {
    condition = flatten([
      for statement in data.aws_iam_policy_document.apply_service["dev"].statement : tolist(statement.resources)
      if anytrue([for action in statement.actions : startswith(action, "scheduler:")])
    ]) == ["arn:aws:scheduler:us-east-1:123456789012:schedule/default/scones-dev-*"]
    error_message = "What may change dev must start nothing of prod."
  }

  assert {
    condition = one([
      for statement in data.aws_iam_policy_document.apply_foundation["dev"].statement : one(statement.condition).values
      if contains(statement.actions, "iam:PassRole")
      ]) == tolist([
      "events.amazonaws.com", "lambda.amazonaws.com", "sagemaker.amazonaws.com", "scheduler.amazonaws.com", "states.amazonaws.com",
    ])
    error_message = "Roles go to the services that run under them, and to no other."
  }
}

run "workflows_may_learn_of_ended_jobs_and_change_no_other_rule" {
  command = plan

  assert {
    condition = one([
      for statement in data.aws_iam_policy_document.boundary.statement : {
        actions   = statement.actions
        resources = statement.resources
      } if statement.sid == "ManagedRules"
      ]) == {
      actions   = toset(["events:DescribeRule", "events:PutRule", "events:PutTargets"])
      resources = toset(["arn:aws:events:us-east-1:123456789012:rule/StepFunctionsGetEventsForSageMaker*JobsRule"])
    }
    error_message = "The rules of Step Functions are made and used, never deleted."
  }
}

run "boundary_keeps_access_and_states_out_of_reach" {
  command = plan

  assert {
    condition = one([
      for statement in data.aws_iam_policy_document.boundary.statement : statement.resources
      if statement.effect == "Deny" && contains(coalesce(statement.actions, []), "iam:*")
      ]) == toset([
      "arn:aws:iam::123456789012:group/*",
      "arn:aws:iam::123456789012:oidc-provider/*",
      "arn:aws:iam::123456789012:policy/*",
      "arn:aws:iam::123456789012:role/scones-terraform-*",
      "arn:aws:iam::123456789012:saml-provider/*",
      "arn:aws:iam::123456789012:user/*",
    ])
    error_message = "No workflow may change users, identity providers, the boundary or the roles made here."
  }

  assert {
    condition = toset(flatten([
      for statement in data.aws_iam_policy_document.boundary.statement : tolist(statement.not_actions)
      if statement.effect == "Deny" && statement.not_actions != null
      ])) == toset([
      "kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey",
      "s3:DeleteObject", "s3:GetObject", "s3:ListBucket", "s3:PutObject",
    ])
    error_message = "The bucket and the key of the states are used by workflows, and not administered."
  }
}

run "present_oidc_provider_is_used" {
  command = plan

  variables {
    oidc_provider_arn = "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com"
  }

  assert {
    condition     = length(aws_iam_openid_connect_provider.github) == 0
    error_message = "An account can have only one provider for GitHub."
  }

  assert {
    condition     = one(one(data.aws_iam_policy_document.plan_trust.statement).principals).identifiers == toset([var.oidc_provider_arn])
    error_message = "The roles must trust the given provider."
  }
}

run "no_environment_is_refused" {
  command = plan

  variables {
    environments = []
  }

  expect_failures = [var.environments]
}

run "environment_with_capitals_is_refused" {
  command = plan

  variables {
    environments = ["Dev"]
  }

  expect_failures = [var.environments]
}

run "environment_that_would_reach_bootstrap_is_refused" {
  command = plan

  variables {
    environments = ["terraform"]
  }

  expect_failures = [var.environments]
}

run "long_name_is_refused" {
  command = plan

  variables {
    name = "scones-of-the-whole-company"
  }

  expect_failures = [var.name]
}

run "short_memory_of_states_is_refused" {
  command = plan

  variables {
    noncurrent_version_retention_days = 7
  }

  expect_failures = [var.noncurrent_version_retention_days]
}

run "another_oidc_provider_is_refused" {
  command = plan

  variables {
    oidc_provider_arn = "arn:aws:iam::123456789012:oidc-provider/gitlab.com"
  }

  expect_failures = [var.oidc_provider_arn]
}

run "region_that_is_none_is_refused" {
  command = plan

  variables {
    region = "Frankfurt"
  }

  expect_failures = [var.region]
}

run "repository_with_a_wildcard_is_refused" {
  command = plan

  variables {
    repository = "octocat/*"
  }

  expect_failures = [var.repository]
}

run "repository_by_its_address_is_refused" {
  command = plan

  variables {
    repository = "https://github.com/octocat/scones"
  }

  expect_failures = [var.repository]
}

run "repository_without_its_owner_is_refused" {
  command = plan

  variables {
    repository = "scones"
  }

  expect_failures = [var.repository]
}
