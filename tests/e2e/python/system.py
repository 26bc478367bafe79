"""Every call of hvac's system backend that Keyway answers. Usage: system.py ADDRESS ROOT_TOKEN"""

import re
import sys
import time

import hvac
from hvac.adapters import RawAdapter
from hvac.exceptions import Forbidden, InvalidPath, InvalidRequest

from judge import refused

client = hvac.Client(url=sys.argv[1], token=sys.argv[2])
raw = RawAdapter(base_uri=sys.argv[1], token=sys.argv[2])


def answered(method, path, status=200, adapter=raw, **kwargs):
    answer = adapter.request(method, f"/v1/{path}", raise_exception=False, **kwargs)
    assert answer.status_code == status, (method, path, answer.status_code, answer.text)
    return answer.json() if answer.content and method != "head" else None


def is_empty(answer):
    return answer.status_code == 204 and answer.content == b""


def is_envelope(answer):
    names = {"request_id", "lease_id", "renewable", "lease_duration", "data", "wrap_info", "warnings", "auth"}
    return names <= set(answer)


def with_token(token):
    return hvac.Client(url=sys.argv[1], token=token)


# Health, seal status and leader need no token.
anonymous = hvac.Client(url=sys.argv[1], token="")
head = anonymous.sys.read_health_status()
assert head.status_code == 200 and head.content == b""
health = anonymous.sys.read_health_status(method="GET")
assert (health["initialized"], health["sealed"], health["standby"]) == (True, False, False)
assert health["performance_standby"] is False and abs(health["server_time_utc"] - time.time()) < 60
assert health["replication_performance_mode"] == "disabled" and health["replication_dr_mode"] == "disabled"
assert re.fullmatch(r"\d+\.\d+\.\d+.*", health["version"]) and health["cluster_name"] and health["cluster_id"]
other = anonymous.sys.read_health_status(method="GET", active_code=299, sealed_code=222)
assert other.status_code == 299 and other.json()["sealed"] is False
assert anonymous.sys.read_health_status(method="GET", active_code=204).status_code == 204
assert anonymous.sys.read_health_status(method="GET", sealed_code=222, uninit_code=223, standby_code=224)["initialized"]
# hvac's HEAD has no query.
answered("head", "sys/health", 299, params={"activecode": 299})
answered("head", "sys/health", 200, params={"sealedcode": 299, "uninitcode": 298, "standbyok": "true"})
# A code that is no number is refused.
answered("get", "sys/health", 400, params={"activecode": "abc"})

assert anonymous.sys.is_initialized() is True and anonymous.sys.is_sealed() is False
assert anonymous.sys.read_init_status() == {"initialized": True}
status = anonymous.sys.read_seal_status()
assert status["type"] == "shamir" and status["initialized"] is True and status["sealed"] is False
assert 1 <= status["t"] <= status["n"] and status["progress"] == 0 and status["nonce"] == ""
assert re.fullmatch(r"\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?", status["version"])
assert status["migration"] is False and status["recovery_seal"] is False and status["storage_type"]
assert status["cluster_id"] == health["cluster_id"] and isinstance(status["build_date"], str)
leader = anonymous.sys.read_leader_status()
assert leader["ha_enabled"] is False and leader["is_self"] is False and leader["performance_standby"] is False
assert leader["leader_address"] == "" and leader["leader_cluster_address"] == ""
# The leader's answer has this name, too.
assert leader["performance_standby_last_remote_wal"] == 0
refused(InvalidRequest, lambda: anonymous.sys.initialize(1, 1), "already initiali")

# Mounts: the table is at the top and under data.
mounts = client.sys.list_mounted_secrets_engines()
assert is_envelope(mounts) and mounts["data"]["secret/"] == mounts["secret/"]
assert set(mounts["data"]) <= set(mounts)
secret = mounts["data"]["secret/"]
assert secret["type"] == "kv" and secret["options"] == {"version": "2"} and secret["local"] is False
assert secret["accessor"].startswith("kv_") and secret["uuid"] and secret["description"] == ""
assert secret["config"]["default_lease_ttl"] == 0 and secret["config"]["max_lease_ttl"] == 0
assert secret["config"]["force_no_cache"] is False and secret["seal_wrap"] is False
assert secret["external_entropy_access"] is False
cubbyhole = mounts["data"]["cubbyhole/"]
assert cubbyhole["type"] == "cubbyhole" and cubbyhole["local"] is True and cubbyhole["options"] is None
assert client.sys.retrieve_mount_option("secret", "version") == "2"

# Each way to say which version.
assert is_empty(client.sys.enable_secrets_engine("kv", path="plain", options={"version": "1"}, description="plain"))
assert is_empty(client.sys.enable_secrets_engine("kv", path="number", options={"version": 1}))
assert is_empty(client.sys.enable_secrets_engine("kv", path="two", options={"version": "2"}))
assert is_empty(client.sys.enable_secrets_engine("kv", path="two-number", options={"version": 2}))
assert is_empty(client.sys.enable_secrets_engine("kv-v2", path="deep/er"))
assert is_empty(client.sys.enable_secrets_engine("kv", config={"default_lease_ttl": "30m", "max_lease_ttl": 7200}))
mounts = client.sys.list_mounted_secrets_engines()["data"]
versions = {"plain/": "1", "number/": "1", "two/": "2", "two-number/": "2", "deep/er/": "2"}
for path, version in versions.items():
    assert mounts[path]["type"] == "kv" and mounts[path]["options"] == {"version": version}, path
assert (mounts["kv/"]["options"] or {}).get("version", "1") == "1" and mounts["plain/"]["description"] == "plain"
assert mounts["kv/"]["config"]["default_lease_ttl"] == 1800 and mounts["kv/"]["config"]["max_lease_ttl"] == 7200
refused(InvalidRequest, lambda: client.sys.enable_secrets_engine("kv", path="plain"), "path is already in use at plain/")
refused(InvalidRequest, lambda: client.sys.enable_secrets_engine("kv", path="three", options={"version": "3"}))
refused(InvalidRequest, lambda: client.sys.enable_secrets_engine("nothing", path="three"))
for path in ("sys", "auth", "cubbyhole"):
    refused(InvalidRequest, lambda: client.sys.enable_secrets_engine("kv", path=path))
one = answered("get", "sys/mounts/plain")
assert one["data"]["type"] == "kv" and one["data"]["accessor"] == mounts["plain/"]["accessor"]
# One mount is told at the top, too, and so is the cubbyhole.
assert one["type"] == "kv" and one["accessor"] == mounts["plain/"]["accessor"]
assert answered("get", "sys/mounts/cubbyhole")["data"]["type"] == "cubbyhole"
answered("get", "sys/mounts/nowhere", 400)

# What a mount says of leases.
tune = client.sys.read_mount_configuration("plain")
assert is_envelope(tune) and tune["data"]["default_lease_ttl"] == 2764800 and tune["data"]["max_lease_ttl"] == 2764800
assert tune["default_lease_ttl"] == 2764800 and tune["force_no_cache"] is False and tune["description"] == "plain"
assert tune["data"]["options"] == {"version": "1"}
tuned = client.sys.tune_mount_configuration(
    "plain", default_lease_ttl="1h", max_lease_ttl="2h", description="tuned", listing_visibility="unauth"
)
assert is_empty(tuned)
tune = client.sys.read_mount_configuration("plain")["data"]
assert (tune["default_lease_ttl"], tune["max_lease_ttl"], tune["description"]) == (3600, 7200, "tuned")
assert tune["listing_visibility"] == "unauth"
assert client.sys.list_mounted_secrets_engines()["data"]["plain/"]["config"]["default_lease_ttl"] == 3600
refused(InvalidRequest, lambda: client.sys.tune_mount_configuration("plain", default_lease_ttl="3h"))
refused(InvalidRequest, lambda: client.sys.tune_mount_configuration("plain", default_lease_ttl="soon"))
assert client.sys.read_mount_configuration("plain")["data"]["default_lease_ttl"] == 3600
client.sys.tune_mount_configuration("plain", default_lease_ttl=0, max_lease_ttl=0, listing_visibility="")
tune = client.sys.read_mount_configuration("plain")["data"]
assert (tune["default_lease_ttl"], tune["description"]) == (2764800, "tuned")
refused(InvalidRequest, lambda: client.sys.read_mount_configuration("nowhere"))
refused(InvalidRequest, lambda: client.sys.tune_mount_configuration("nowhere", description="x"))

# Version 1.
kv = client.secrets.kv.v1
assert is_empty(kv.create_or_update_secret("a/b", {"n": 1, "ü": "🔑", "deep": {"x": [None, True]}}, mount_point="plain"))
read = kv.read_secret("a/b", mount_point="plain")
assert is_envelope(read) and read["data"] == {"n": 1, "ü": "🔑", "deep": {"x": [None, True]}}
assert read["lease_duration"] == 2764800 and read["renewable"] is False and read["lease_id"] == ""
assert is_empty(kv.create_or_update_secret("a/b", {"n": 2}, mount_point="plain"))
assert kv.read_secret("a/b", mount_point="plain")["data"] == {"n": 2}
assert is_empty(kv.create_or_update_secret("a/c", {"ttl": "30s"}, method="PUT", mount_point="plain"))
assert kv.read_secret("a/c", mount_point="plain")["lease_duration"] == 30
kv.create_or_update_secret("z", {"z": 1}, method="POST", mount_point="plain")
assert kv.list_secrets("", mount_point="plain")["data"]["keys"] == ["a/", "z"]
assert kv.list_secrets("a", mount_point="plain")["data"]["keys"] == ["b", "c"]
# Hvac's own list asks with list=True.
assert client.list("plain/a")["data"]["keys"] == ["b", "c"]
refused(InvalidRequest, lambda: kv.create_or_update_secret("empty", {}, mount_point="plain"))
refused(InvalidPath, lambda: kv.read_secret("none", mount_point="plain"))
refused(InvalidPath, lambda: kv.list_secrets("none", mount_point="plain"))
assert is_empty(kv.delete_secret("a/c", mount_point="plain"))
assert is_empty(kv.delete_secret("a/c", mount_point="plain"))
refused(InvalidPath, lambda: kv.read_secret("a/c", mount_point="plain"))
kv.create_or_update_secret("a", {"n": 1}, mount_point="number")
assert kv.read_secret("a", mount_point="number")["data"] == {"n": 1}
client.secrets.kv.v2.create_or_update_secret("a", {"n": 1}, mount_point="deep/er")

# A mount moves with its secrets.
moved = client.sys.move_backend("plain", "moved/plain")
migration = moved["data"]["migration_id"]
# The answer has it at the top, too.
assert moved["migration_id"] == migration
deadline = time.monotonic() + 20
while True:
    state = answered("get", f"sys/remount/status/{migration}")["data"]
    if state["migration_info"]["status"] != "in-progress":
        break
    assert time.monotonic() < deadline
    time.sleep(0.1)
assert state["migration_id"] == migration and state["migration_info"]["status"] == "success"
assert state["migration_info"]["source_mount"].strip("/") == "plain"
assert state["migration_info"]["target_mount"].strip("/") == "moved/plain"
assert kv.read_secret("a/b", mount_point="moved/plain")["data"] == {"n": 2}
refused(InvalidPath, lambda: kv.read_secret("a/b", mount_point="plain"))
mounts = client.sys.list_mounted_secrets_engines()["data"]
assert "plain/" not in mounts and mounts["moved/plain/"]["description"] == "tuned"
refused(InvalidRequest, lambda: client.sys.move_backend("nowhere", "x"))
refused(InvalidRequest, lambda: client.sys.move_backend("number", "two"), "in use")
refused(InvalidRequest, lambda: client.sys.move_backend("number", "sys/x"))
refused(InvalidRequest, lambda: client.sys.move_backend("number", "auth/x"))

# And goes.
for path in ("moved/plain", "number", "two", "two-number", "deep/er", "kv"):
    assert is_empty(client.sys.disable_secrets_engine(path))
assert is_empty(client.sys.disable_secrets_engine("nowhere"))
left = client.sys.list_mounted_secrets_engines()["data"]
assert not {"moved/plain/", "number/", "two/", "two-number/", "deep/er/", "kv/"} & set(left) and "secret/" in left
refused(InvalidPath, lambda: kv.read_secret("a/b", mount_point="moved/plain"))
client.sys.enable_secrets_engine("kv", path="number", options={"version": "1"})
refused(InvalidPath, lambda: kv.read_secret("a", mount_point="number"))
client.sys.disable_secrets_engine("number")
for path in ("sys", "cubbyhole"):
    refused(InvalidRequest, lambda: client.sys.disable_secrets_engine(path))

# Auth methods.
methods = client.sys.list_auth_methods()
assert is_envelope(methods) and methods["token/"] == methods["data"]["token/"]
token = methods["data"]["token/"]
assert token["type"] == "token" and token["accessor"].startswith("auth_token_") and token["options"] is None
assert token["description"] == "token based credentials" and token["config"]["token_type"] == "default-service"
assert is_empty(client.sys.enable_auth_method("approle"))
assert is_empty(client.sys.enable_auth_method("approle", path="team/a", description="a", config={"max_lease_ttl": "1h"}))
methods = client.sys.list_auth_methods()["data"]
assert methods["approle/"]["type"] == "approle" and methods["approle/"]["accessor"].startswith("auth_approle_")
assert methods["team/a/"]["description"] == "a" and methods["team/a/"]["config"]["max_lease_ttl"] == 3600
refused(InvalidRequest, lambda: client.sys.enable_auth_method("approle"), "already in use at")
refused(InvalidRequest, lambda: client.sys.enable_auth_method("nothing"))
refused(InvalidRequest, lambda: client.sys.enable_auth_method("token", path="token2"))
refused(InvalidRequest, lambda: client.sys.disable_auth_method("token"), "token credential backend cannot be disabled")
assert answered("get", "sys/auth/approle")["data"]["type"] == "approle"
# One auth method is told at the top, too.
assert answered("get", "sys/auth/approle")["type"] == "approle"
answered("get", "sys/auth/nowhere", 400)
tune = client.sys.read_auth_method_tuning("approle")
assert is_envelope(tune) and tune["data"]["default_lease_ttl"] == 2764800 and tune["max_lease_ttl"] == 2764800
assert tune["data"]["token_type"] == "default-service" and tune["data"]["force_no_cache"] is False
tuned = client.sys.tune_auth_method(
    "approle", default_lease_ttl="10m", max_lease_ttl="20m", description="tuned", listing_visibility="unauth"
)
assert is_empty(tuned)
tune = client.sys.read_auth_method_tuning("approle")["data"]
assert (tune["default_lease_ttl"], tune["max_lease_ttl"], tune["description"]) == (600, 1200, "tuned")
assert client.sys.read_mount_configuration("auth/approle")["data"]["default_lease_ttl"] == 600
assert answered("get", "sys/auth")["data"]["approle/"]["config"]["listing_visibility"] == "unauth"
refused(InvalidRequest, lambda: client.sys.tune_auth_method("approle", default_lease_ttl="1h"))
refused(InvalidRequest, lambda: client.sys.read_auth_method_tuning("nowhere"))
assert client.sys.move_backend("auth/approle", "auth/moved")["data"]["migration_id"]
assert client.sys.read_auth_method_tuning("moved")["data"]["description"] == "tuned"
refused(InvalidRequest, lambda: client.sys.read_auth_method_tuning("approle"))
for path in ("moved", "team/a", "nowhere"):
    assert is_empty(client.sys.disable_auth_method(path))
assert not {"moved/", "team/a/", "approle/"} & set(client.sys.list_auth_methods()["data"])

# Policies, by their older endpoint.
RULES = 'path "secret/data/app/*" {\n  capabilities = ["read", "create"] # of the app\n}\n'
assert is_empty(client.sys.create_or_update_policy("App", RULES))
read = client.sys.read_policy("app")
assert is_envelope(read) and read["name"] == "app" and read["rules"] == RULES
assert read["data"]["name"] == "app" and read["data"]["rules"] == RULES and read["data"]["version"] == 1
assert client.get_policy("APP") == RULES
policies = client.sys.list_policies()
assert policies["policies"] == ["app", "default", "root"] and policies["data"]["keys"] == ["app", "default", "root"]
assert policies["keys"] == policies["data"]["policies"] == ["app", "default", "root"]
assert is_empty(client.sys.create_or_update_policy("dict", {"path": {"secret/data/d": {"capabilities": ["list"]}}}))
assert '"secret/data/d"' in client.sys.read_policy("dict")["rules"]
assert client.sys.read_policy("root")["rules"] == ""
assert "auth/token/lookup-self" in client.sys.read_policy("default")["rules"]
refused(InvalidPath, lambda: client.sys.read_policy("none"))
refused(InvalidRequest, lambda: client.sys.create_or_update_policy("bad", 'path "x" { capabilities = ["fly"] }'))
refused(InvalidRequest, lambda: client.sys.create_or_update_policy("bad", 'path "x" {'))
refused(InvalidRequest, lambda: client.sys.create_or_update_policy("bad", ""), "'policy' parameter not supplied or empty")
refused(InvalidRequest, lambda: client.sys.create_or_update_policy("root", RULES), "root")
refused(InvalidRequest, lambda: client.sys.delete_policy("root"), "root")
refused(InvalidRequest, lambda: client.sys.delete_policy("default"), "default")
# In Vault's words.
refused(InvalidRequest, lambda: client.sys.create_or_update_policy("root", RULES), 'cannot update "root" policy')
refused(InvalidRequest, lambda: client.sys.delete_policy("root"), 'cannot delete "root" policy')
refused(InvalidRequest, lambda: client.sys.delete_policy("default"), 'cannot delete "default" policy')
assert is_empty(client.sys.delete_policy("dict")) and is_empty(client.sys.delete_policy("dict"))
refused(InvalidPath, lambda: client.sys.read_policy("dict"))

# And by their newer one.
assert is_empty(client.sys.create_or_update_acl_policy("new", RULES))
read = client.sys.read_acl_policy("NEW")
assert is_envelope(read) and read["data"]["name"] == "new" and read["data"]["policy"] == RULES
assert is_empty(client.sys.create_or_update_acl_policy("new", {"path": {"x": {"capabilities": ["deny"]}}}))
assert '"deny"' in client.sys.read_acl_policy("new")["data"]["policy"]
assert client.sys.list_acl_policies()["data"]["keys"] == ["app", "default", "new", "root"]
refused(InvalidPath, lambda: client.sys.read_acl_policy("none"))
refused(InvalidRequest, lambda: client.sys.create_or_update_acl_policy("bad", "path"))
refused(InvalidRequest, lambda: client.sys.delete_acl_policy("default"), "default")
assert is_empty(client.sys.delete_acl_policy("new"))
refused(InvalidPath, lambda: client.sys.read_acl_policy("new"))
assert client.sys.list_acl_policies()["data"]["keys"] == ["app", "default", "root"]

# What a token may do.
auth = client.auth.token.create(policies=["app"], ttl="1h")["auth"]
app = with_token(auth["client_token"])
for found in (
    app.sys.get_capabilities(["secret/data/app/x"]),
    client.sys.get_capabilities(["secret/data/app/x"], token=auth["client_token"]),
    client.sys.get_capabilities(["secret/data/app/x"], accessor=auth["accessor"]),
):
    assert is_envelope(found) and sorted(found["capabilities"]) == ["create", "read"]
    # In the order of the alphabet.
    assert found["capabilities"] == ["create", "read"]
    assert found["data"]["capabilities"] == found["data"]["secret/data/app/x"] == found["secret/data/app/x"]
several = app.sys.get_capabilities(["secret/data/app/x", "secret/data/other", "sys/mounts"])
assert sorted(several["secret/data/app/x"]) == ["create", "read"] and several["secret/data/other"] == ["deny"]
assert several["data"]["sys/mounts"] == ["deny"] and "capabilities" not in several
assert client.sys.get_capabilities(["sys/mounts"])["capabilities"] == ["root"]
refused(InvalidRequest, lambda: client.sys.get_capabilities(["x"], token="nothing"))
refused(InvalidRequest, lambda: client.sys.get_capabilities(["x"], accessor="nothing"), "invalid accessor")
refused(InvalidRequest, lambda: client.sys.get_capabilities([]))
refused(Forbidden, lambda: app.sys.get_capabilities(["x"], token=auth["client_token"]))
refused(Forbidden, lambda: anonymous.sys.get_capabilities(["x"]))

# The key that seals.
before = client.sys.get_encryption_key_status()
assert is_envelope(before) and before["term"] == before["data"]["term"] and before["encryptions"] >= 0
assert re.match(r"\d{4}-\d\d-\d\dT", before["data"]["install_time"])
assert is_empty(client.sys.rotate_encryption_key())
assert client.sys.get_encryption_key_status()["data"]["term"] == before["term"] + 1
assert client.key_status["term"] == before["term"] + 1
refused(Forbidden, lambda: app.sys.rotate_encryption_key())
refused(Forbidden, lambda: app.sys.seal())

# Each token's own cubbyhole.
assert is_empty(app.write("cubbyhole/a/b", x=1, y="ü"))
assert app.read("cubbyhole/a/b")["data"] == {"x": 1, "y": "ü"}
assert client.read("cubbyhole/a/b") is None
refused(InvalidPath, lambda: client.adapter.list("/v1/cubbyhole/a"))
app.write_data("cubbyhole/c", data={"z": [1]})
for folder, keys in (("cubbyhole/", ["a/", "c"]), ("cubbyhole", ["a/", "c"]), ("cubbyhole/a", ["b"])):
    assert app.adapter.list(f"/v1/{folder}")["data"]["keys"] == keys
    assert app.adapter.get(f"/v1/{folder}", params={"list": "true"})["data"]["keys"] == keys
    # Hvac's own list asks with list=True.
    assert app.list(folder)["data"]["keys"] == keys
app.delete("cubbyhole/a/b")
app.delete("cubbyhole/a/b")
assert app.read("cubbyhole/a/b") is None
refused(InvalidPath, lambda: app.adapter.list("/v1/cubbyhole/a"))
refused(InvalidRequest, lambda: app.write_data("cubbyhole/c", data={}))
assert app.read("cubbyhole/c")["data"] == {"z": [1]}

# Wrappings.
client.secrets.kv.v2.create_or_update_secret("app/x", {"n": 1})
wrapped = client.read("secret/data/app/x", wrap_ttl="2m")
info = wrapped["wrap_info"]
assert is_envelope(wrapped) and wrapped["data"] is None and wrapped["auth"] is None
assert info["ttl"] == 120 and info["creation_path"] == "secret/data/app/x" and info["token"] and info["accessor"]
assert re.match(r"\d{4}-\d\d-\d\dT", info["creation_time"])
found = anonymous.adapter.post("/v1/sys/wrapping/lookup", json={"token": info["token"]})
assert found["data"]["creation_ttl"] == 120 and found["data"]["creation_path"] == "secret/data/app/x"
assert found["data"]["creation_time"]
unwrapped = client.sys.unwrap(info["token"])
assert unwrapped["data"]["data"] == {"n": 1} and unwrapped["wrap_info"] is None
refused(InvalidRequest, lambda: client.sys.unwrap(info["token"]), "wrapping token is not valid or does not exist")
refused(InvalidRequest, lambda: client.adapter.post("/v1/sys/wrapping/lookup", json={"token": info["token"]}))
# A dead wrapping is said to be one, too, where it is the token that is shown.
refused(InvalidRequest, lambda: with_token(info["token"]).sys.unwrap(), "wrapping token is not valid")
refused(InvalidRequest, lambda: client.sys.unwrap(auth["client_token"]))

wrapped = client.sys.wrap({"a": {"b": 1}, "token": "x"}, ttl=90)["wrap_info"]
assert wrapped["ttl"] == 90 and wrapped["creation_path"] == "sys/wrapping/wrap"
refused(Forbidden, lambda: with_token(client.sys.wrap({"a": 1})["wrap_info"]["token"]).read("secret/data/app/x"))
again = client.adapter.post("/v1/sys/wrapping/rewrap", json={"token": wrapped["token"]})["wrap_info"]
assert again["token"] != wrapped["token"] and again["ttl"] == 90 and again["creation_path"] == "sys/wrapping/wrap"
refused(InvalidRequest, lambda: client.sys.unwrap(wrapped["token"]))
assert app.sys.unwrap(again["token"])["data"] == {"a": {"b": 1}, "token": "x"}
# A wrapping is opened by its own token.
own = client.sys.wrap({"a": 1})["wrap_info"]["token"]
assert with_token(own).sys.unwrap()["data"] == {"a": 1}
refused(InvalidRequest, lambda: client.adapter.post("/v1/sys/wrapping/rewrap", json={"token": again["token"]}))
refused(InvalidRequest, lambda: client.adapter.post("/v1/sys/wrapping/wrap", json={"a": 1}))

made = client.auth.token.create(policies=["app"], ttl="1h", wrap_ttl="60s")
assert made["auth"] is None and made["wrap_info"]["wrapped_accessor"]
made_auth = client.sys.unwrap(made["wrap_info"]["token"])["auth"]
assert made_auth["accessor"] == made["wrap_info"]["wrapped_accessor"]
assert with_token(made_auth["client_token"]).auth.token.lookup_self()["data"]["policies"] == ["app", "default"]
short = client.read("secret/data/app/x", wrap_ttl="1s")["wrap_info"]["token"]
time.sleep(2.1)
refused(InvalidRequest, lambda: client.sys.unwrap(short))
refused(InvalidRequest, lambda: client.read("secret/data/app/x", wrap_ttl="soon"))

# Leases: those of tokens.
before = set(client.sys.list_leases("auth/token/create")["data"]["keys"])
leased = client.auth.token.create(policies=["app"], ttl="1h")["auth"]
new = set(client.sys.list_leases("auth/token/create")["data"]["keys"]) - before
assert len(new) == 1 and "create/" in client.sys.list_leases("auth/token")["data"]["keys"]
lease = f"auth/token/create/{new.pop()}"
assert leased["client_token"] not in lease
read = client.sys.read_lease(lease)["data"]
assert read["id"] == lease and 3590 <= read["ttl"] <= 3600 and read["renewable"] is True
assert read["last_renewal"] is None and read["expire_time"] > read["issue_time"]
refused(InvalidRequest, lambda: client.sys.read_lease("auth/token/create/none"), "invalid lease")
refused(InvalidRequest, lambda: client.sys.renew_lease("auth/token/create/none"), "lease not found")
refused(InvalidPath, lambda: client.sys.list_leases("none"))
refused(Forbidden, lambda: app.sys.list_leases("auth/token/create"))
# Keyway renews it.
renewed = client.sys.renew_lease(lease, 7200)
assert renewed["lease_id"] == lease and renewed["renewable"] is True and 7190 <= renewed["lease_duration"] <= 7200
assert client.sys.read_lease(lease)["data"]["last_renewal"]
# The body counts before the path.
assert answered("put", "sys/leases/renew/none", json={"lease_id": lease})["lease_id"] == lease
assert client.sys.revoke_lease(lease).status_code in (202, 204)
deadline = time.monotonic() + 20
while True:
    try:
        client.auth.token.lookup(leased["client_token"])
    except Forbidden:
        break
    assert time.monotonic() < deadline
    time.sleep(0.1)
refused(InvalidRequest, lambda: client.sys.read_lease(lease), "invalid lease")
assert client.sys.revoke_lease(lease).status_code in (202, 204)

client.auth.token.create_or_update_role("short", path_suffix="night")
suffixed = [client.auth.token.create(role_name="short", policies=["app"])["auth"]["client_token"] for _ in range(3)]
assert client.auth.token.lookup(suffixed[0])["data"]["path"] == "auth/token/create/short/night"
assert len(client.sys.list_leases("auth/token/create/short/night")["data"]["keys"]) == 3
assert client.sys.revoke_prefix("auth/token/create/short").status_code in (202, 204)
deadline = time.monotonic() + 20
while True:
    try:
        client.sys.list_leases("auth/token/create/short/night")
    except InvalidPath:
        break
    assert time.monotonic() < deadline
    time.sleep(0.1)
for token in suffixed:
    refused(Forbidden, lambda: with_token(token).auth.token.lookup_self())
assert app.auth.token.lookup_self()["data"]["policies"] == ["app", "default"]
assert client.sys.revoke_force("auth/token/create/none").status_code in (202, 204)
refused(Forbidden, lambda: app.sys.revoke_prefix("auth/token/create"))

# What command lines and user interfaces ask.
shown = answered("get", "sys/internal/ui/mounts")["data"]
assert shown["secret"]["secret/"]["type"] == "kv" and shown["secret"]["secret/"]["options"] == {"version": "2"}
assert shown["auth"]["token/"]["type"] == "token"
one = answered("get", "sys/internal/ui/mounts/secret")["data"]
assert one["path"] == "secret/" and one["type"] == "kv" and one["options"] == {"version": "2"} and one["accessor"]
assert answered("get", "sys/internal/ui/mounts/secret/data/app/x")["data"]["path"] == "secret/"
assert app.adapter.get("/v1/sys/internal/ui/mounts/secret")["data"]["options"] == {"version": "2"}
client.sys.enable_secrets_engine("kv", path="hidden", options={"version": "1"})
assert "hidden/" not in app.adapter.get("/v1/sys/internal/ui/mounts")["data"]["secret"]
refused(Forbidden, lambda: app.adapter.get("/v1/sys/internal/ui/mounts/hidden"), "")
refused(Forbidden, lambda: app.adapter.get("/v1/sys/internal/ui/mounts/nowhere"), "")
client.sys.tune_mount_configuration("hidden", listing_visibility="unauth")
assert "hidden/" in app.adapter.get("/v1/sys/internal/ui/mounts")["data"]["secret"]
client.sys.disable_secrets_engine("hidden")

# Nothing of the system is told without a token.
for path in ("sys/mounts", "sys/auth", "sys/policy", "sys/key-status", "sys/mounts/secret/tune"):
    refused(Forbidden, lambda: anonymous.adapter.get(f"/v1/{path}"))
    refused(Forbidden, lambda: app.adapter.get(f"/v1/{path}"))

client.auth.token.delete_role("short")
client.auth.token.revoke(auth["client_token"])
client.auth.token.revoke(made_auth["client_token"])
client.sys.delete_policy("app")
client.secrets.kv.v2.delete_metadata_and_all_versions("app/x")

print("hvac is content")
