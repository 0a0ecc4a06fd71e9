# What is wrong with the definition that Step Functions would take all the same. A flow is the machine itself, what one
# of its maps does with an item, or a branch of a parallel state, whose own Catch may be that of the branch's tasks.

locals {
  flows = concat(
    [{ definition = var.definition, is_caught = false }],
    [
      for state in values(var.definition.States) : { definition = state.ItemProcessor, is_caught = false }
      if can(state.ItemProcessor)
    ],
    flatten([
      for state in values(var.definition.States) : [
        for branch in state.Branches : { definition = branch, is_caught = can(state.Catch) }
      ] if can(state.Branches)
    ]),
  )

  endless_tasks = flatten([
    for flow in local.flows : [
      for name, state in flow.definition.States : name
      if state.Type == "Task" && !can(state.TimeoutSeconds)
    ]
  ])
  careless_tasks = flatten([
    for flow in local.flows : [
      for name, state in flow.definition.States : name
      if state.Type == "Task" && !can(state.Catch) && !flow.is_caught
    ]
  ])

  # Each flow's states, and those that something in it goes to.
  routes = [
    for flow in local.flows : {
      states = keys(flow.definition.States)
      targets = compact(flatten([
        flow.definition.StartAt,
        [
          for state in values(flow.definition.States) : [
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
