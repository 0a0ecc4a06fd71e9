# What is wrong with the definition that Step Functions would take all the same. A flow is the machine itself, or what one
# of its maps does with an item.

locals {
  flows = concat([var.definition], [for state in values(var.definition.States) : state.ItemProcessor if can(state.ItemProcessor)])

  endless_tasks  = flatten([for flow in local.flows : [for name, state in flow.States : name if state.Type == "Task" && !can(state.TimeoutSeconds)]])
  careless_tasks = flatten([for flow in local.flows : [for name, state in flow.States : name if state.Type == "Task" && !can(state.Catch)]])

  # Each flow's states, and those that something in it goes to.
  routes = [
    for flow in local.flows : {
      states = keys(flow.States)
      targets = compact(flatten([
        flow.StartAt,
        [
          for state in values(flow.States) : [
            try(state.Next, ""),
            try(state.Default, ""),
            [for choice in try(state.Choices, []) : choice.Next],
            [for catch in try(state.Catch, []) : catch.Next],
          ]
        ],
      ]))
    }
  ]

  missing_states     = flatten([for route in local.routes : tolist(setsubtract(route.targets, route.states))])
  unreachable_states = flatten([for route in local.routes : tolist(setsubtract(route.states, route.targets))])
}
