"""S3: keys with any character can be listed, and events name the version."""

from __future__ import annotations

import json
import threading
from http import HTTPStatus
from typing import Any
from xml.etree import ElementTree

from ministack.services import eventbridge, s3


def encode_keys_of_versions() -> None:
    """Let ListObjectVersions honour `encoding-type=url`, without which a key with a `+` can never be destroyed."""
    list_versions = s3._list_object_versions

    def list_object_versions(bucket: str, query: dict[str, Any]) -> Any:
        status, headers, body = list_versions(bucket, query)
        if s3._qp(query, "encoding-type", "") != "url" or status != HTTPStatus.OK:
            return status, headers, body
        root = ElementTree.fromstring(body)  # noqa: S314 - made by MiniStack a moment ago
        namespace = root.tag.partition("}")[0] + "}"
        for tag in ("Key", "Prefix", "KeyMarker", "NextKeyMarker"):
            for element in root.iter(namespace + tag):
                element.text = s3._url_encode(element.text or "")
        ElementTree.SubElement(root, namespace + "EncodingType").text = "url"
        return status, headers, ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)

    s3._list_object_versions = list_object_versions


def tell_versions_of_objects() -> None:
    """Let the events of a versioned bucket name the version, by which a second delivery is known for one.

    See https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html
    """
    firing = threading.local()
    fire, dispatch = s3._fire_s3_event, eventbridge._dispatch_event

    def fire_event(*args: Any, **kwargs: Any) -> None:
        firing.version = kwargs.get("version_id")
        try:
            fire(*args, **kwargs)
        finally:
            firing.version = None

    def dispatch_event(event: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        if getattr(firing, "version", None) and event["Source"] == "aws.s3":
            detail = json.loads(event["Detail"])
            detail["object"]["version-id"] = firing.version
            event = event | {"Detail": json.dumps(detail)}
        return dispatch(event, *args, **kwargs)

    s3._fire_s3_event = fire_event
    eventbridge._dispatch_event = dispatch_event
