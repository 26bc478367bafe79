"""Every call of hvac's KV version 2. Usage: kv2.py ADDRESS TOKEN"""

import sys
import time

import hvac
from hvac.exceptions import InvalidPath, InvalidRequest

from judge import refused

client = hvac.Client(url=sys.argv[1], token=sys.argv[2])
kv = client.secrets.kv.v2


# What the mount says.
assert kv.read_configuration()["data"] == {"max_versions": 0, "cas_required": False, "delete_version_after": "0s", "metadata_cas_required": False}
kv.configure(max_versions=4, cas_required=True, delete_version_after="1h30m")
assert kv.read_configuration()["data"] == {
    "max_versions": 4, "cas_required": True, "delete_version_after": "1h30m0s", "metadata_cas_required": False
}
refused(InvalidRequest, lambda: kv.create_or_update_secret(path="a", secret={"n": 0}), "check-and-set parameter required")
first = kv.create_or_update_secret(path="a", secret={"n": 1}, cas=0)["data"]
assert first["version"] == 1 and first["deletion_time"] > first["created_time"]
kv.configure(max_versions=4, cas_required=False, delete_version_after="0s")

# Patch, which hvac does by reading and writing.
kv.patch(path="a", secret={"m": 2})
assert kv.read_secret_version(path="a", raise_on_deleted_version=True)["data"]["data"] == {"n": 1, "m": 2}
refused(InvalidPath, lambda: kv.patch(path="none", secret={}))

# Only the newest versions are kept.
for number in range(3, 7):
    kv.create_or_update_secret(path="a", secret={"n": number})
metadata = kv.read_secret_metadata(path="a")["data"]
assert set(metadata["versions"]) == {"3", "4", "5", "6"} and metadata["oldest_version"] == 3
refused(InvalidPath, lambda: kv.read_secret_version(path="a", version=2, raise_on_deleted_version=True))

# Delete, undelete, destroy.
kv.delete_secret_versions(path="a", versions=[4, 5, 99])
deleted = kv.read_secret_version(path="a", version=4, raise_on_deleted_version=False)["data"]
assert deleted["data"] is None and deleted["metadata"]["deletion_time"] and not deleted["metadata"]["destroyed"]
kv.undelete_secret_versions(path="a", versions=[4])
assert kv.read_secret_version(path="a", version=4, raise_on_deleted_version=True)["data"]["data"] == {"n": 4}
kv.destroy_secret_versions(path="a", versions=[4, 6])
kv.undelete_secret_versions(path="a", versions=[4, 6])
for number in (4, 6):
    # hvac forgives versions with a deletion time alone, here and at Vault.
    read = lambda: kv.read_secret_version(path="a", version=number, raise_on_deleted_version=False)
    refused(InvalidPath, read, '"destroyed":true')
refused(InvalidPath, lambda: kv.read_secret_version(path="a", raise_on_deleted_version=True))
assert kv.create_or_update_secret(path="a", secret={"n": 7})["data"]["version"] == 7

# The metadata of a secret.
kv.update_metadata(
    path="b/c", max_versions=2, cas_required=True, delete_version_after="30m", custom_metadata={"owner": "ops", "ü": "🔑"}
)
metadata = kv.read_secret_metadata(path="b/c")["data"]
assert metadata["current_version"] == 0 and metadata["versions"] == {}
assert (metadata["max_versions"], metadata["cas_required"], metadata["delete_version_after"]) == (2, True, "30m0s")
assert metadata["custom_metadata"] == {"owner": "ops", "ü": "🔑"}
refused(InvalidRequest, lambda: kv.create_or_update_secret(path="b/c", secret={}), "required")
kv.create_or_update_secret(path="b/c", secret={"x": 1}, cas=0)
read = kv.read_secret(path="b/c", raise_on_deleted_version=True)["data"]
assert read["metadata"]["custom_metadata"]["owner"] == "ops" and read["metadata"]["deletion_time"]
kv.update_metadata(path="b/c", custom_metadata={"team": "x"})
metadata = kv.read_secret_metadata(path="b/c")["data"]
assert metadata["custom_metadata"] == {"team": "x"} and metadata["max_versions"] == 2
refused(InvalidRequest, lambda: kv.update_metadata(path="b/c", max_versions=-1))
refused(InvalidRequest, lambda: kv.update_metadata(path="b/c", delete_version_after="soon"), "duration")
refused(InvalidRequest, lambda: kv.update_metadata(path="b/c", custom_metadata={"k" * 129: "v"}))

# A version with a short life is gone at its end.
kv.update_metadata(path="short", delete_version_after="1s")
kv.create_or_update_secret(path="short", secret={"x": 1})
assert kv.read_secret_version(path="short", raise_on_deleted_version=True)["data"]["data"] == {"x": 1}
deadline = time.monotonic() + 20
while kv.read_secret_version(path="short", raise_on_deleted_version=False)["data"]["data"] is not None:
    assert time.monotonic() < deadline
    time.sleep(0.1)

assert kv.list_secrets(path="")["data"]["keys"] == ["a", "b/", "short"]
kv.delete_metadata_and_all_versions(path="a")
refused(InvalidPath, lambda: kv.read_secret_metadata(path="a"))

# Mounts, with a slash and a blank in the path.
client.sys.enable_secrets_engine("kv", path="team a/kv", description="a team's", options={"version": "2"})
assert client.sys.list_mounted_secrets_engines()["data"]["team a/kv/"]["description"] == "a team's"
kv.create_or_update_secret(path="x y", secret={"a": 1}, mount_point="team a/kv")
assert kv.list_secrets(path="", mount_point="team a/kv")["data"]["keys"] == ["x y"]
kv.configure(max_versions=2, mount_point="team a/kv")
assert kv.read_configuration(mount_point="team a/kv")["data"]["max_versions"] == 2
refused(InvalidRequest, lambda: client.sys.enable_secrets_engine("kv", path="team a/kv", options={"version": "2"}), "in use")
refused(InvalidRequest, lambda: client.sys.enable_secrets_engine("pki", path="pki"))
client.sys.disable_secrets_engine("team a/kv")
assert "team a/kv/" not in client.sys.list_mounted_secrets_engines()["data"]

print("hvac is content")
