"""The audit devices by hvac: adding, listing and removing them, and the hashes in their lines."""

import json
import os
import sys
import tempfile

import hvac

address, root_token = sys.argv[1:]
client = hvac.Client(url=address, token=root_token)


def refused(kind, call, **arguments):
    try:
        call(**arguments)
    except kind as error:
        return str(error)
    raise AssertionError(f"{call} was not refused")


assert client.sys.list_enabled_audit_devices()["data"] == {}
with tempfile.TemporaryDirectory() as directory:
    log = os.path.join(directory, "audit.log")
    enabled = client.sys.enable_audit_device(
        device_type="file", description="for a test", options={"file_path": log}, path="tmp"
    )
    assert enabled.status_code == 204, enabled
    listed = client.sys.list_enabled_audit_devices()
    device = listed["data"]["tmp/"]
    assert device["type"] == "file" and device["description"] == "for a test" and device["path"] == "tmp/"
    assert device["options"]["file_path"] == log and device["local"] is False
    assert listed["tmp/"] == device

    client.secrets.kv.v2.create_or_update_secret("a", secret={"password": "correct-horse"})
    hashed = client.sys.calculate_hash(path="tmp", input_to_hash="correct-horse")
    digest = hashed["data"]["hash"]
    assert digest == hashed["hash"] and digest.startswith("hmac-sha256:") and len(digest) == 12 + 64
    with open(log, encoding="utf-8") as lines:
        entries = [json.loads(line) for line in lines]
    written = [entry for entry in entries if entry["request"]["path"] == "secret/data/a"]
    assert [entry["type"] for entry in written] == ["request", "response"]
    assert written[0]["request"]["data"]["data"]["password"] == digest
    assert written[0]["auth"]["client_token"] == client.sys.calculate_hash("tmp", root_token)["data"]["hash"]

    invalid = hvac.exceptions.InvalidRequest
    options = {"file_path": log + "2"}
    assert "already" in refused(invalid, client.sys.enable_audit_device, device_type="file", options=options, path="tmp")
    for device_type, options in [
        ("syslog", {}),
        ("file", {}),
        ("file", {"file_path": "relative.log"}),
        ("file", {"file_path": log + "2", "log_raw": "true"}),
        ("socket", {"address": "127.0.0.1:1"}),
    ]:
        refused(invalid, client.sys.enable_audit_device, device_type=device_type, options=options, path="other")
    refused(invalid, client.sys.calculate_hash, path="none", input_to_hash="x")

    stranger = hvac.Client(url=address, token=client.auth.token.create(policies=["default"])["auth"]["client_token"])
    forbidden = hvac.exceptions.Forbidden
    refused(forbidden, stranger.sys.list_enabled_audit_devices)
    refused(forbidden, stranger.sys.enable_audit_device, device_type="file", options={"file_path": log + "3"}, path="x")
    refused(forbidden, stranger.sys.disable_audit_device, path="tmp")
    refused(forbidden, stranger.sys.calculate_hash, path="tmp", input_to_hash="x")

    assert client.sys.disable_audit_device(path="tmp").status_code == 204
    assert client.sys.list_enabled_audit_devices()["data"] == {}
print("hvac is content")
