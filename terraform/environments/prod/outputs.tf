# The toolkit reads these; they are the same in every environment.

output "foundation" {
  description = "What training needs: bucket, key, names, role, region."
  value       = module.foundation
}

output "service" {
  description = "What serves: release, endpoint, workflow, topic, dashboard. Null while there is no release."
  value       = one(module.service)
}
