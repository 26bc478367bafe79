"""The life of a cluster and of a secret, as hvac sees them. Usage: kv.py ADDRESS"""

import sys

import hvac
from hvac.exceptions import Forbidden, InvalidPath, InvalidRequest, VaultDown

client = hvac.Client(url=sys.argv[1])

# A fresh server.
assert client.sys.is_initialized() is False
assert client.sys.read_health_status(method="GET").status_code == 501
made = client.sys.initialize(secret_shares=5, secret_threshold=3)
assert len(made["keys"]) == 5 and len(made["keys_base64"]) == 5
assert client.sys.is_initialized() is True
assert client.sys.is_sealed() is True
assert client.sys.read_health_status(method="HEAD").status_code == 503
try:
    client.sys.initialize()
    raise AssertionError("a second initialisation succeeded")
except InvalidRequest as error:
    assert "already" in str(error)

# Unsealing, with shares in either encoding.
status = client.sys.submit_unseal_key(made["keys"][0])
assert (status["sealed"], status["progress"], status["t"], status["n"]) == (True, 1, 3, 5)
try:
    client.secrets.kv.v2.read_secret_version(path="app", raise_on_deleted_version=True)
    raise AssertionError("a sealed server answered")
except VaultDown:
    pass
client.sys.submit_unseal_key(made["keys_base64"][4])
status = client.sys.submit_unseal_key(made["keys"][2])
assert status["sealed"] is False and client.sys.is_sealed() is False
assert client.seal_status["type"] == "shamir"

# A request without a token is refused.
try:
    client.secrets.kv.v2.read_secret_version(path="app", raise_on_deleted_version=True)
    raise AssertionError("a client without a token was answered")
except Forbidden:
    pass
client.token = made["root_token"]
mounts = client.sys.list_mounted_secrets_engines()
assert mounts["data"]["secret/"]["type"] == "kv" and mounts["secret/"]["options"]["version"] == "2"

# Versions.
kv = client.secrets.kv.v2
for number in range(1, 4):
    written = kv.create_or_update_secret(path="app/db", secret={"n": number, "long": 12345678901234567890123})
    assert written["data"]["version"] == number
    assert written["data"]["destroyed"] is False and written["data"]["deletion_time"] == ""
read = kv.read_secret_version(path="app/db", raise_on_deleted_version=True)
assert read["data"]["data"] == {"n": 3, "long": 12345678901234567890123}
assert read["lease_id"] == "" and read["renewable"] is False and read["request_id"]
old = kv.read_secret_version(path="app/db", version=1, raise_on_deleted_version=True)
assert old["data"]["data"]["n"] == 1 and old["data"]["metadata"]["version"] == 1
metadata = kv.read_secret_metadata(path="app/db")["data"]
assert metadata["current_version"] == 3 and set(metadata["versions"]) == {"1", "2", "3"}

# Check-and-set.
for cas in (0, 2):
    try:
        kv.create_or_update_secret(path="app/db", secret={}, cas=cas)
        raise AssertionError("a stale check-and-set succeeded")
    except InvalidRequest as error:
        assert "did not match the current version" in str(error)
assert kv.create_or_update_secret(path="app/db", secret={"n": 4}, cas=3)["data"]["version"] == 4
assert kv.create_or_update_secret(path="app/cache", secret={"ü": "🔑"}, cas=0)["data"]["version"] == 1

# Listing.
assert kv.list_secrets(path="")["data"]["keys"] == ["app/"]
assert kv.list_secrets(path="app")["data"]["keys"] == ["cache", "db"]
try:
    kv.list_secrets(path="none")
    raise AssertionError("an empty folder was listed")
except InvalidPath:
    pass

# Deletion.
kv.delete_latest_version_of_secret(path="app/db")
try:
    kv.read_secret_version(path="app/db", raise_on_deleted_version=True)
    raise AssertionError("a deleted version was read")
except InvalidPath:
    pass
deleted = kv.read_secret_version(path="app/db", raise_on_deleted_version=False)
assert deleted["data"]["data"] is None and deleted["data"]["metadata"]["deletion_time"] != ""
assert kv.read_secret_version(path="app/db", version=3, raise_on_deleted_version=True)["data"]["data"]["n"] == 3
kv.delete_metadata_and_all_versions(path="app/db")
assert kv.list_secrets(path="app")["data"]["keys"] == ["cache"]
try:
    kv.read_secret_metadata(path="app/db")
    raise AssertionError("a removed secret has metadata")
except InvalidPath:
    pass

# Sealing.
client.sys.seal()
assert client.sys.is_sealed() is True
client.sys.submit_unseal_keys(made["keys"][:3])
assert kv.read_secret_version(path="app/cache", raise_on_deleted_version=True)["data"]["data"] == {"ü": "🔑"}

print("hvac is content")
