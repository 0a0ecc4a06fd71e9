"""Starts MiniStack with its gaps mended. Run as `python -m toolkit.local_cloud.ministack.server`.

MiniStack reads its settings (`GATEWAY_PORT`, `BIND_HOST`, ...) from the environment.
"""

from __future__ import annotations

from ministack import app

from toolkit.local_cloud.ministack import alarms, buckets, functions, state_machines
from toolkit.local_cloud.ministack.aborted_tasks import abort_tasks
from toolkit.local_cloud.ministack.distributed_map import run_distributed_maps
from toolkit.local_cloud.ministack.iam_enforcement import enforce_permissions
from toolkit.local_cloud.ministack.payload_limit import enforce_payload_limit
from toolkit.local_cloud.ministack.repeated_requests import repeat_answers
from toolkit.local_cloud.ministack.resumed_executions import keep_sessions, resume_executions
from toolkit.local_cloud.ministack.sagemaker_tasks import run_sagemaker_tasks
from toolkit.local_cloud.ministack.schedules import fire_schedules
from toolkit.local_cloud.ministack.sdk_tasks import run_sdk_tasks
from toolkit.local_cloud.ministack.slow_down import answer_slow_down

if __name__ == "__main__":
    alarms.keep_alarms_in_full()
    alarms.describe_alarms_in_full()
    alarms.evaluate_alarms_by_dimension()
    alarms.read_embedded_metrics()
    buckets.encode_keys_of_versions()
    buckets.tell_versions_of_objects()
    functions.report_exception_class()
    state_machines.keep_tracing_configuration()
    state_machines.repeat_alias_creation()
    state_machines.publish_message_attributes()
    state_machines.name_errors_of_nested_executions()
    run_sagemaker_tasks()
    run_sdk_tasks()
    run_distributed_maps()
    enforce_payload_limit()
    abort_tasks()
    resume_executions()
    keep_sessions()
    answer_slow_down()
    fire_schedules()
    enforce_permissions()
    repeat_answers()
    app.main()
