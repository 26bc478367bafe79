"""Tokens, policies and AppRole, by every call that hvac has. Usage: auth.py ADDRESS ROOT_TOKEN"""

import json
import sys
import time

import hvac
from hvac.exceptions import Forbidden, InvalidPath, InvalidRequest, VaultError

from judge import refused

client = hvac.Client(url=sys.argv[1], token=sys.argv[2])
tokens = client.auth.token
anonymous = hvac.Client(url=sys.argv[1], token="")


def with_token(token):
    return hvac.Client(url=sys.argv[1], token=token)


def made(**kwargs):
    return tokens.create(**kwargs)["auth"]


def told(token):
    return tokens.lookup(token)["data"]


def is_empty(answer):
    return answer.status_code == 204 and answer.content == b""


def is_about(seconds, expected):
    return expected - 20 <= seconds <= expected


def policy(name, **paths):
    rules = {path: {"capabilities": capabilities} for path, capabilities in paths.items()}
    client.sys.create_or_update_policy(name, {"path": rules})


for path in ("one", "two", "app/a", "app/b", "app/secret/x"):
    client.secrets.kv.v2.create_or_update_secret(path, {"path": path})
policy("reader", **{"secret/data/one": ["read"]})
policy("maker", **{"auth/token/create": ["update"], "auth/token/create/*": ["update"], "auth/token/create-orphan": ["update"]})

# The root token.
root = tokens.lookup_self()["data"]
assert root["policies"] == ["root"] and root["ttl"] == 0 and root["expire_time"] is None and root["orphan"] is True
assert root["id"] == sys.argv[2] and root["display_name"] == "root" and root["num_uses"] == 0 and root["type"] == "service"
assert root["path"] == "auth/token/root" and root["explicit_max_ttl"] == 0 and root["creation_ttl"] == 0
assert client.is_authenticated() and not anonymous.is_authenticated()

# A token as it is made, and as it is told.
answer = tokens.create(policies=["reader"], ttl="1h", num_uses=5, meta={"who": "me", "ü": "🔑"}, display_name="a b")
auth = answer["auth"]
assert answer["data"] is None and answer["wrap_info"] is None and answer["lease_id"] == ""
assert auth["policies"] == auth["token_policies"] == ["default", "reader"] and auth["metadata"] == {"who": "me", "ü": "🔑"}
assert is_about(auth["lease_duration"], 3600) and auth["renewable"] is True and auth["orphan"] is False
assert auth["token_type"] == "service" and auth["num_uses"] == 5 and auth["entity_id"] == ""
assert auth["client_token"] and auth["accessor"] and auth["client_token"] != auth["accessor"]
data = told(auth["client_token"])
assert data["id"] == auth["client_token"] and data["accessor"] == auth["accessor"]
assert data["policies"] == ["default", "reader"] and data["meta"] == {"who": "me", "ü": "🔑"}
assert data["display_name"] == "token-a-b" and data["num_uses"] == 5 and data["path"] == "auth/token/create"
assert data["creation_ttl"] == 3600 and is_about(data["ttl"], 3600) and data["explicit_max_ttl"] == 0
assert data["renewable"] is True and data["orphan"] is False and data["type"] == "service" and data["entity_id"] == ""
assert abs(data["creation_time"] - time.time()) < 60 and data["expire_time"] > data["issue_time"]
by_accessor = tokens.lookup_accessor(auth["accessor"])["data"]
assert by_accessor["id"] == "" and by_accessor["policies"] == data["policies"] and by_accessor["num_uses"] == 5
assert auth["accessor"] in tokens.list_accessors()["data"]["keys"]
tokens.revoke(auth["client_token"])
assert auth["accessor"] not in tokens.list_accessors()["data"]["keys"]
plain = made(policies=["reader"])
assert is_about(plain["lease_duration"], 2764800) and plain["metadata"] is None and plain["num_uses"] == 0
assert told(plain["client_token"])["meta"] is None and told(plain["client_token"])["display_name"] == "token-token"
assert made(policies=["b-policy", "reader", "b-policy", "A-Policy"])["policies"] == ["a-policy", "b-policy", "default", "reader"]
# Who names a policy that is not there is warned.
assert any("b-policy" in warning for warning in tokens.create(policies=["b-policy"])["warnings"])
assert made(policies=["reader"], no_default_policy=True)["policies"] == ["reader"]
assert made(ttl="1h")["policies"] == ["root"]
assert made(policies=["reader"], no_parent=True)["orphan"] is True
assert made(policies=["reader"], renewable=False)["renewable"] is False
assert made(policies=["reader"], type="service")["token_type"] == "service"
refused(InvalidRequest, lambda: made(policies=["reader"], type="nothing"))
refused(InvalidRequest, lambda: made(policies=["reader"], num_uses=-1), "number of uses cannot be negative")
refused(InvalidRequest, lambda: made(policies=["reader"], ttl="soon"))
refused(InvalidRequest, lambda: made(policies=["reader"], ttl="-1h"))
assert made(policies=["root", "reader"])["policies"] == ["root"]
refused(InvalidRequest, lambda: made(policies=["response-wrapping"]))
bounded = made(policies=["reader"], ttl="2h", explicit_max_ttl="1h")
assert is_about(bounded["lease_duration"], 3600) and told(bounded["client_token"])["explicit_max_ttl"] == 3600
assert tokens.create(policies=["reader"], ttl="2h", explicit_max_ttl="1h")["warnings"]
periodic = made(policies=["reader"], period="30m")
assert is_about(periodic["lease_duration"], 1800) and told(periodic["client_token"])["period"] == 1800

# One that its maker has chosen.
chosen = made(id="chosen-by-hand", policies=["reader"])
assert chosen["client_token"] == "chosen-by-hand"
assert with_token("chosen-by-hand").auth.token.lookup_self()["data"]["id"] == "chosen-by-hand"
refused(InvalidRequest, lambda: made(id="chosen-by-hand", policies=["reader"]))
refused(InvalidRequest, lambda: made(id="hvs.mine", policies=["reader"]))
tokens.revoke("chosen-by-hand")
refused(Forbidden, lambda: with_token("chosen-by-hand").auth.token.lookup_self())

# Orphans.
orphan = tokens.create_orphan(policies=["reader"], ttl="1h", num_uses=3, meta={"a": "b"}, display_name="o", period="1h")["auth"]
assert orphan["orphan"] is True and told(orphan["client_token"])["orphan"] is True and orphan["num_uses"] == 3
assert told(orphan["client_token"])["period"] == 3600

# Look-ups of a token that does not exist.
for call in (lambda: tokens.lookup("nothing"), lambda: with_token("nothing").auth.token.lookup_self()):
    refused(Forbidden, call)
refused(Forbidden, lambda: tokens.lookup("nothing"), "bad token")
for call in (tokens.lookup_accessor, tokens.renew_accessor):
    refused(InvalidRequest, lambda: call("nothing"), "invalid accessor")
assert tokens.revoke_accessor("nothing")["warnings"] == ["No token found with this accessor"]
refused(InvalidRequest, lambda: tokens.renew("nothing"))
assert is_empty(tokens.revoke("nothing"))
refused(InvalidRequest, lambda: tokens.lookup_accessor(""))
refused(InvalidRequest, lambda: tokens.revoke_and_orphan_children("nothing"))

# Prolonging.
one = made(policies=["reader"], ttl="10m", meta={"a": "b"})
renewed = tokens.renew(one["client_token"], increment="1h")["auth"]
assert renewed["client_token"] == one["client_token"] and renewed["accessor"] == one["accessor"]
assert is_about(renewed["lease_duration"], 3600) and renewed["policies"] == ["default", "reader"]
assert renewed["metadata"] == {"a": "b"} and renewed["renewable"] is True
assert is_about(told(one["client_token"])["ttl"], 3600) and told(one["client_token"])["last_renewal_time"]
renewed = with_token(one["client_token"]).auth.token.renew_self(increment=7200)["auth"]
assert is_about(renewed["lease_duration"], 7200) and renewed["client_token"] == one["client_token"]
renewed = tokens.renew_accessor(one["accessor"], increment="30m")["auth"]
assert renewed["client_token"] == "" and is_about(renewed["lease_duration"], 1800)
assert is_about(tokens.renew(one["client_token"])["auth"]["lease_duration"], 1800)
assert is_about(tokens.renew(one["client_token"], increment="9000h")["auth"]["lease_duration"], 2764800)
assert is_about(tokens.renew(bounded["client_token"], increment="9h")["auth"]["lease_duration"], 3600)
assert is_about(tokens.renew(periodic["client_token"], increment="9h")["auth"]["lease_duration"], 1800)
fixed = made(policies=["reader"], renewable=False, ttl="1h")["client_token"]
refused(InvalidRequest, lambda: tokens.renew(fixed, increment="2h"))
refused(InvalidRequest, lambda: client.auth.token.renew_self(), "")

# An expired token is unknown.
short = with_token(made(policies=["reader"], ttl="2s")["client_token"])
assert short.auth.token.lookup_self()["data"]["ttl"] <= 2
time.sleep(3.1)
refused(Forbidden, lambda: short.auth.token.lookup_self(), "permission denied")
refused(Forbidden, lambda: tokens.lookup(short.token), "bad token")

# Three uses are three requests, even if one of them is refused.
counted = with_token(made(policies=["reader"], num_uses=3)["client_token"])
assert counted.secrets.kv.v2.read_secret("one", raise_on_deleted_version=True)["data"]["data"] == {"path": "one"}
assert told(counted.token)["num_uses"] == 2
refused(Forbidden, lambda: counted.secrets.kv.v2.read_secret("two", raise_on_deleted_version=True))
assert told(counted.token)["num_uses"] == 1
assert counted.secrets.kv.v2.read_secret("one", raise_on_deleted_version=True)["data"]["data"] == {"path": "one"}
refused(Forbidden, lambda: counted.secrets.kv.v2.read_secret("one", raise_on_deleted_version=True), "permission denied")
refused(Forbidden, lambda: tokens.lookup(counted.token), "bad token")
limited = with_token(made(policies=["maker"], num_uses=9)["client_token"])
# Whose uses are counted makes no others.
refused(InvalidRequest, lambda: limited.auth.token.create(), "restricted use token cannot generate child tokens")

# Children die with their parent.
parent = with_token(made(policies=["maker"])["client_token"])
child = with_token(parent.auth.token.create()["auth"]["client_token"])
grandchild = with_token(child.auth.token.create()["auth"]["client_token"])
apart = with_token(tokens.create_orphan(policies=["maker"])["auth"]["client_token"])
assert told(child.token)["policies"] == ["default", "maker"] and told(child.token)["orphan"] is False
assert grandchild.auth.token.lookup_self()["data"]["orphan"] is False
assert is_empty(tokens.revoke(parent.token))
for gone in (parent, child, grandchild):
    refused(Forbidden, lambda: gone.auth.token.lookup_self(), "permission denied")
    refused(Forbidden, lambda: tokens.lookup(gone.token), "bad token")
assert apart.auth.token.lookup_self()["data"]["orphan"] is True

# Or live on without it.
parent = with_token(made(policies=["maker"])["client_token"])
child = with_token(parent.auth.token.create()["auth"]["client_token"])
grandchild = with_token(child.auth.token.create()["auth"]["client_token"])
assert is_empty(tokens.revoke_and_orphan_children(parent.token))
refused(Forbidden, lambda: parent.auth.token.lookup_self())
assert child.auth.token.lookup_self()["data"]["policies"] == ["default", "maker"]
# A child whose parent is gone says so.
assert child.auth.token.lookup_self()["data"]["orphan"] is True
assert grandchild.auth.token.lookup_self()["data"]["orphan"] is False
refused(Forbidden, lambda: child.auth.token.revoke_and_orphan_children(grandchild.token))
assert is_empty(child.auth.token.revoke_self())
for gone in (child, grandchild):
    refused(Forbidden, lambda: gone.auth.token.lookup_self())
parent = made(policies=["maker"])
child = with_token(parent["client_token"]).auth.token.create()["auth"]
assert is_empty(tokens.revoke_accessor(parent["accessor"]))
refused(Forbidden, lambda: tokens.lookup(parent["client_token"]))
refused(VaultError, lambda: tokens.lookup_accessor(child["accessor"]), "invalid accessor")

# A policy for one path.
reader = with_token(made(policies=["reader"])["client_token"])
assert reader.secrets.kv.v2.read_secret("one", raise_on_deleted_version=True)["data"]["data"] == {"path": "one"}
kv = reader.secrets.kv.v2
for call in (
    lambda: kv.read_secret("two", raise_on_deleted_version=True),
    lambda: kv.read_secret("one/more", raise_on_deleted_version=True),
    lambda: kv.read_secret("on", raise_on_deleted_version=True),
    lambda: kv.read_secret("none", raise_on_deleted_version=True),
    lambda: kv.create_or_update_secret("one", {"x": 1}),
    lambda: kv.delete_latest_version_of_secret("one"),
    lambda: kv.read_secret_metadata("one"),
    lambda: kv.list_secrets(""),
    lambda: kv.read_configuration(),
    lambda: reader.sys.list_mounted_secrets_engines(),
    lambda: reader.sys.create_or_update_policy("reader", 'path "*" { capabilities = ["sudo"] }'),
    lambda: reader.auth.token.create(),
    lambda: reader.auth.token.list_accessors(),
    lambda: reader.auth.token.lookup(sys.argv[2]),
    lambda: reader.read("nowhere/at/all"),
):
    refused(Forbidden, call, "permission denied")
assert reader.auth.token.lookup_self()["data"]["policies"] == ["default", "reader"]
bare = with_token(made(policies=["reader"], no_default_policy=True)["client_token"])
assert bare.secrets.kv.v2.read_secret("one", raise_on_deleted_version=True)
refused(Forbidden, lambda: bare.auth.token.lookup_self())

# What a policy says counts at once.
policy("reader", **{"secret/data/two": ["read"]})
assert kv.read_secret("two", raise_on_deleted_version=True)["data"]["data"] == {"path": "two"}
refused(Forbidden, lambda: kv.read_secret("one", raise_on_deleted_version=True))
policy("reader", **{"secret/data/one": ["read"]})

# deny wins, and the longer path before the shorter one.
policy("wide", **{"secret/data/app/*": ["read", "list"], "secret/data/app/secret/*": ["deny"], "secret/data/+/b": ["read"]})
policy("never", **{"secret/data/app/a": ["deny"]})
policy("also", **{"secret/data/app/a": ["read", "update"]})
wide = with_token(made(policies=["wide"])["client_token"]).secrets.kv.v2
assert wide.read_secret("app/a", raise_on_deleted_version=True) and wide.read_secret("app/b", raise_on_deleted_version=True)
refused(Forbidden, lambda: wide.read_secret("app/secret/x", raise_on_deleted_version=True))
never = with_token(made(policies=["wide", "also", "never"])["client_token"]).secrets.kv.v2
refused(Forbidden, lambda: never.read_secret("app/a", raise_on_deleted_version=True))
assert never.read_secret("app/b", raise_on_deleted_version=True)

# list and read are two things.
policy("lister", **{"secret/metadata/app": ["list"], "secret/metadata/app/": ["list"]})
lister = with_token(made(policies=["lister"])["client_token"]).secrets.kv.v2
assert lister.list_secrets("app")["data"]["keys"] == ["a", "b", "secret/"]
refused(Forbidden, lambda: lister.read_secret("app/a", raise_on_deleted_version=True))
refused(Forbidden, lambda: lister.read_secret_metadata("app"))
refused(Forbidden, lambda: lister.list_secrets(""))
policy("looker", **{"secret/metadata/app": ["read"], "secret/metadata/app/*": ["read"]})
looker = with_token(made(policies=["looker"])["client_token"]).secrets.kv.v2
assert looker.read_secret_metadata("app/a")["data"]["current_version"] >= 1
refused(Forbidden, lambda: looker.list_secrets("app"))

# create and update are two things.
client.sys.enable_secrets_engine("kv", path="plain", options={"version": "1"})
policy("creator", **{"secret/data/new/*": ["create"], "plain/*": ["create"]})
policy("updater", **{"secret/data/new/*": ["update"], "plain/*": ["update"]})
creator = with_token(made(policies=["creator"])["client_token"]).secrets.kv
updater = with_token(made(policies=["updater"])["client_token"]).secrets.kv
refused(Forbidden, lambda: updater.v1.create_or_update_secret("a", {"n": 1}, method="PUT", mount_point="plain"))
creator.v1.create_or_update_secret("a", {"n": 1}, method="PUT", mount_point="plain")
refused(Forbidden, lambda: creator.v1.create_or_update_secret("a", {"n": 2}, method="POST", mount_point="plain"))
updater.v1.create_or_update_secret("a", {"n": 2}, method="POST", mount_point="plain")
client.sys.disable_secrets_engine("plain")
refused(Forbidden, lambda: updater.v2.create_or_update_secret("new/none", {"n": 1}))
assert creator.v2.create_or_update_secret("new/made", {"n": 1})["data"]["version"] == 1
client.secrets.kv.v2.create_or_update_secret("new/a", {"n": 1})
refused(Forbidden, lambda: creator.v2.create_or_update_secret("new/a", {"n": 2}))
assert updater.v2.create_or_update_secret("new/a", {"n": 2})["data"]["version"] == 2

# Without sudo, a token gives no policy that it does not have. No token gives the root policy.
policy("sudoer", **{"auth/token/*": ["create", "update", "sudo"]})
maker = with_token(made(policies=["maker", "reader"])["client_token"])
sudoer = with_token(made(policies=["sudoer"])["client_token"])
assert maker.auth.token.create(policies=["reader"])["auth"]["policies"] == ["default", "reader"]
refused(InvalidRequest, lambda: maker.auth.token.create(policies=["wide"]), "child policies must be subset of parent")
assert sudoer.auth.token.create(policies=["wide"])["auth"]["policies"] == ["default", "wide"]
tokens.create_or_update_role("any", orphan=True)
for spelling in ("root", "ROOT", " root", "Root", "root ", "\troot", "rOOt\n", "default,root", "reader, ROOT "):
    for who in (maker, sudoer):
        for kwargs in ({}, {"role_name": "any"}):
            try:
                given = who.auth.token.create(policies=[spelling], **kwargs)["auth"]["policies"]
            except (InvalidRequest, Forbidden):
                continue
            assert "root" not in [name.strip().lower() for name in given], (spelling, kwargs, given)
            assert not any("root" in name.lower() for name in given), (spelling, kwargs, given)
    refused(VaultError, lambda: maker.auth.token.create_orphan(policies=[spelling]))
    refused(VaultError, lambda: sudoer.auth.token.create_orphan(policies=[spelling]))
refused(InvalidRequest, lambda: sudoer.auth.token.create(policies=["root"]))
refused(InvalidRequest, lambda: maker.auth.token.create(id="mine"), "root or sudo privileges required")
refused(InvalidRequest, lambda: maker.auth.token.create(period="1h"), "root or sudo privileges required")
refused(InvalidRequest, lambda: maker.auth.token.create(no_parent=True), "root or sudo privileges required")
assert sudoer.auth.token.create(no_parent=True, period="1h")["auth"]["orphan"] is True
assert maker.auth.token.create_orphan(policies=["reader"])["auth"]["orphan"] is True

# Roles of tokens.
role = dict(
    allowed_policies=["reader", "wide"], disallowed_policies=["never"], orphan=True, renewable=False, path_suffix="night",
    token_period="1h", token_explicit_max_ttl="2h",
)
assert is_empty(tokens.create_or_update_role("jobs", **role))
read = tokens.read_role("jobs")["data"]
assert read["name"] == "jobs" and read["allowed_policies"] == ["reader", "wide"] and read["disallowed_policies"] == ["never"]
assert read["orphan"] is True and read["renewable"] is False and read["path_suffix"] == "night"
assert read["token_period"] == 3600 and read["token_explicit_max_ttl"] == 7200 and read["allowed_entity_aliases"] is None
# The old names are of fields that were written by them.
assert read["period"] == 0 and read["explicit_max_ttl"] == 0
assert tokens.list_roles()["data"]["keys"] == ["any", "jobs"]
by_role = maker.auth.token.create(role_name="jobs", policies=["wide"])["auth"]
assert by_role["policies"] == ["default", "wide"] and by_role["orphan"] is True and by_role["renewable"] is False
assert is_about(by_role["lease_duration"], 3600)
data = told(by_role["client_token"])
assert data["path"] == "auth/token/create/jobs/night" and data["role"] == "jobs"
# What the role says is the role's, and not kept with the token.
assert "period" not in data and data["explicit_max_ttl"] == 0
assert maker.auth.token.create(role_name="jobs")["auth"]["policies"] == ["default", "reader", "wide"]
refused(InvalidRequest, lambda: maker.auth.token.create(role_name="jobs", policies=["maker"]))
refused(InvalidRequest, lambda: client.auth.token.create(role_name="jobs", policies=["root"]))
refused(InvalidRequest, lambda: maker.auth.token.create(role_name="none"), "unknown role")
tokens.create_or_update_role("but", disallowed_policies=["reader"])
refused(InvalidRequest, lambda: maker.auth.token.create(role_name="but", policies=["reader"]))
assert maker.auth.token.create(role_name="but", policies=["maker"])["auth"]["policies"] == ["default", "maker"]
assert is_empty(tokens.create_or_update_role("jobs", allowed_policies=["maker"]))
read = tokens.read_role("jobs")["data"]
assert read["allowed_policies"] == ["maker"] and read["path_suffix"] == "night" and read["orphan"] is False
for name in ("jobs", "any", "but"):
    assert is_empty(tokens.delete_role(name))
refused(InvalidPath, lambda: tokens.read_role("jobs"))
refused(InvalidPath, lambda: tokens.list_roles())
tidy = tokens.tidy()
assert tidy.status_code == 202 and tidy.json()["warnings"]

# AppRole.
approle = client.auth.approle
client.sys.enable_auth_method("approle")
refused(InvalidPath, lambda: approle.list_roles())
assert is_empty(approle.create_or_update_approle("Web", token_policies=["reader"], token_ttl="10m", token_max_ttl="1h"))
assert approle.list_roles()["data"]["keys"] == ["web"]
read = approle.read_role("web")["data"]
assert read["bind_secret_id"] is True and read["token_policies"] == ["reader"] and read["local_secret_ids"] is False
assert read["token_ttl"] == 600 and read["token_max_ttl"] == 3600 and read["token_period"] == 0
assert read["secret_id_ttl"] == 0 and read["secret_id_num_uses"] == 0 and read["token_num_uses"] == 0
assert read["token_explicit_max_ttl"] == 0 and read["token_no_default_policy"] is False and read["token_type"] == "default"
assert not read["secret_id_bound_cidrs"] and not read["token_bound_cidrs"] and "role_id" not in read
approle.create_or_update_approle("web", token_explicit_max_ttl="30m", token_no_default_policy=False, token_num_uses=7)
read = approle.read_role("WEB")["data"]
assert (read["token_explicit_max_ttl"], read["token_num_uses"], read["token_ttl"]) == (1800, 7, 600)
refused(InvalidRequest, lambda: approle.create_or_update_approle("bad", bind_secret_id=False))
refused(InvalidRequest, lambda: approle.create_or_update_approle("bad", token_ttl="2h", token_max_ttl="1h"))
refused(InvalidRequest, lambda: approle.create_or_update_approle("bad", secret_id_bound_cidrs=["nowhere"]))
refused(InvalidPath, lambda: approle.read_role("none"))
refused(InvalidPath, lambda: approle.read_role_id("none"))
refused(InvalidPath, lambda: approle.generate_secret_id("none"))

role_id = approle.read_role_id("web")["data"]["role_id"]
assert len(role_id) == 36
assert is_empty(approle.update_role_id("web", "web-by-hand"))
assert approle.read_role_id("web")["data"]["role_id"] == "web-by-hand"
approle.create_or_update_approle("other")
refused(VaultError, lambda: approle.update_role_id("other", "web-by-hand"))
assert approle.list_roles()["data"]["keys"] == ["other", "web"]

# Logging in.
made_id = approle.generate_secret_id("web", metadata={"tag": "production"})["data"]
assert made_id["secret_id"] and made_id["secret_id_accessor"] and made_id["secret_id"] != made_id["secret_id_accessor"]
assert made_id["secret_id_ttl"] == 0 and made_id["secret_id_num_uses"] == 0
answer = anonymous.auth.approle.login("web-by-hand", made_id["secret_id"], use_token=False)
auth = answer["auth"]
assert answer["data"] is None and auth["policies"] == auth["token_policies"] == ["default", "reader"]
assert is_about(auth["lease_duration"], 600) and auth["renewable"] is True and auth["orphan"] is True
assert auth["metadata"] == {"role_name": "web", "tag": "production"} and auth["num_uses"] == 7
assert auth["token_type"] == "service" and auth["accessor"]
data = told(auth["client_token"])
assert data["path"] == "auth/approle/login" and data["display_name"] == "approle" and data["orphan"] is True
assert data["meta"] == {"role_name": "web", "tag": "production"} and data["explicit_max_ttl"] == 1800
assert is_about(tokens.renew(auth["client_token"], increment="2h")["auth"]["lease_duration"], 1800)
session = hvac.Client(url=sys.argv[1], token="")
session.auth.approle.login("web-by-hand", made_id["secret_id"])
assert session.is_authenticated()
assert session.secrets.kv.v2.read_secret("one", raise_on_deleted_version=True)["data"]["data"] == {"path": "one"}
refused(Forbidden, lambda: session.secrets.kv.v2.read_secret("two", raise_on_deleted_version=True))
login = anonymous.auth.approle.login
for shown in (
    ("web-by-hand", "wrong"),
    ("web-by-hand", made_id["secret_id_accessor"]),
    ("web", made_id["secret_id"]),
    (role_id, made_id["secret_id"]),
    ("wrong", "wrong"),
):
    refused(InvalidRequest, lambda: login(*shown, use_token=False), "invalid role or secret ID")
refused(InvalidRequest, lambda: login("web-by-hand", use_token=False))
refused(InvalidRequest, lambda: login("", made_id["secret_id"], use_token=False), "missing role_id")
wrapped = approle.generate_secret_id("web", wrap_ttl="60s")
assert wrapped["data"] is None
opened = client.sys.unwrap(wrapped["wrap_info"]["token"])["data"]["secret_id"]
assert login("web-by-hand", opened, use_token=False)["auth"]["client_token"]

# The properties of a secret id.
known = approle.read_secret_id("web", made_id["secret_id"])["data"]
assert known["secret_id_accessor"] == made_id["secret_id_accessor"] and known["metadata"] == {"tag": "production"}
assert known["secret_id_num_uses"] == 0 and known["secret_id_ttl"] == 0 and not known["cidr_list"]
assert known["creation_time"] and known["last_updated_time"] and known["expiration_time"] == "0001-01-01T00:00:00Z"
assert not known["token_bound_cidrs"] and "secret_id" not in known
by_accessor = approle.read_secret_id_accessor("web", made_id["secret_id_accessor"])["data"]
assert by_accessor == known
assert approle.read_secret_id("web", "nothing").status_code == 204
refused(InvalidPath, lambda: approle.read_secret_id_accessor("web", "nothing"), "failed to find accessor entry")
accessors = approle.list_secret_id_accessors("web")["data"]["keys"]
assert len(accessors) == 2 and made_id["secret_id_accessor"] in accessors
refused(InvalidPath, lambda: approle.read_secret_id_accessor("other", made_id["secret_id_accessor"]))
assert approle.read_secret_id("other", made_id["secret_id"]).status_code == 204
refused(InvalidPath, lambda: approle.list_secret_id_accessors("other"))

# One chosen by its maker.
custom = approle.create_custom_secret_id("web", "by hand", metadata={"a": "b"}, cidr_list=["127.0.0.0/8"])["data"]
assert custom["secret_id"] == "by hand" and custom["secret_id_accessor"]
assert login("web-by-hand", "by hand", use_token=False)["auth"]["metadata"] == {"role_name": "web", "a": "b"}
assert approle.read_secret_id("web", "by hand")["data"]["cidr_list"] in (["127.0.0.0/8"], ["127.0.0.1/8"])
refused(InvalidRequest, lambda: approle.create_custom_secret_id("web", "by hand"), "already registered")
refused(InvalidRequest, lambda: approle.create_custom_secret_id("web", ""))

# Uses.
approle.create_or_update_approle("other", secret_id_num_uses=2, secret_id_ttl="1h", token_policies=["reader"])
other_id = approle.read_role_id("other")["data"]["role_id"]
twice = approle.generate_secret_id("other")["data"]
assert twice["secret_id_num_uses"] == 2 and twice["secret_id_ttl"] == 3600
assert login(other_id, twice["secret_id"], use_token=False)["auth"]
assert approle.read_secret_id("other", twice["secret_id"])["data"]["secret_id_num_uses"] == 1
assert login(other_id, twice["secret_id"], use_token=False)["auth"]
refused(InvalidRequest, lambda: login(other_id, twice["secret_id"], use_token=False), "invalid role or secret ID")
assert approle.read_secret_id("other", twice["secret_id"]).status_code == 204
refused(InvalidPath, lambda: approle.list_secret_id_accessors("other"))

# hvac's method has neither uses nor a time to live.
url = "/v1/auth/approle/role/other/secret-id"
once = client.adapter.post(url, json={"num_uses": 1, "ttl": "2s", "metadata": json.dumps({"a": "b"})})["data"]
assert once["secret_id_num_uses"] == 1 and once["secret_id_ttl"] == 2
assert login(other_id, once["secret_id"], use_token=False)["auth"]
refused(InvalidRequest, lambda: login(other_id, once["secret_id"], use_token=False), "invalid role or secret ID")
late = client.adapter.post(url, json={"ttl": "1s"})["data"]["secret_id"]
time.sleep(2.1)
refused(InvalidRequest, lambda: login(other_id, late, use_token=False), "invalid role or secret ID")
refused(InvalidRequest, lambda: client.adapter.post(url, json={"num_uses": 3}))
refused(InvalidRequest, lambda: client.adapter.post(url, json={"num_uses": 0}))
refused(InvalidRequest, lambda: client.adapter.post(url, json={"ttl": "2h"}))
refused(InvalidRequest, lambda: client.adapter.post(url, json={"num_uses": -1}))

# Networks.
here = approle.generate_secret_id("web", cidr_list=["127.0.0.1/32"])["data"]["secret_id"]
away = approle.generate_secret_id("web", cidr_list=["10.1.2.0/24"])["data"]["secret_id"]
assert login("web-by-hand", here, use_token=False)["auth"]
refused(InvalidRequest, lambda: login("web-by-hand", away, use_token=False))
assert approle.read_secret_id("web", away)["data"]["cidr_list"] == ["10.1.2.0/24"]
bound = approle.generate_secret_id("web", token_bound_cidrs=["10.1.2.0/24"])["data"]["secret_id"]
elsewhere = with_token(login("web-by-hand", bound, use_token=False)["auth"]["client_token"])
refused(Forbidden, lambda: elsewhere.auth.token.lookup_self(), "permission denied")
assert told(elsewhere.token)["bound_cidrs"] == ["10.1.2.0/24"]
approle.create_or_update_approle("net", secret_id_bound_cidrs=["10.0.0.0/8"], bind_secret_id=False, token_policies=["reader"])
refused(InvalidRequest, lambda: login(approle.read_role_id("net")["data"]["role_id"], use_token=False))
approle.create_or_update_approle("net", secret_id_bound_cidrs=["127.0.0.0/8"])
assert login(approle.read_role_id("net")["data"]["role_id"], use_token=False)["auth"]["metadata"] == {"role_name": "net"}
approle.create_or_update_approle("net", bind_secret_id=True)
refused(VaultError, lambda: approle.generate_secret_id("net", cidr_list=["10.0.0.0/8"]))
assert approle.generate_secret_id("net", cidr_list=["127.1.0.0/16"])["data"]["secret_id"]

# No role gives the root policy.
for spelling in ("root", "ROOT", " Root"):
    try:
        approle.create_or_update_approle("evil", token_policies=[spelling])
    except InvalidRequest:
        continue
    secret_id = approle.generate_secret_id("evil")["data"]["secret_id"]
    refused(VaultError, lambda: login(approle.read_role_id("evil")["data"]["role_id"], secret_id, use_token=False))

# Destroying.
assert is_empty(approle.destroy_secret_id("web", here))
refused(InvalidRequest, lambda: login("web-by-hand", here, use_token=False), "invalid role or secret ID")
assert is_empty(approle.destroy_secret_id_accessor("web", made_id["secret_id_accessor"]))
refused(InvalidRequest, lambda: login("web-by-hand", made_id["secret_id"], use_token=False), "invalid role or secret ID")
assert made_id["secret_id_accessor"] not in approle.list_secret_id_accessors("web")["data"]["keys"]
refused(VaultError, lambda: approle.destroy_secret_id_accessor("web", "nothing"), "failed to find accessor entry")
assert client.adapter.post("/v1/auth/approle/tidy/secret-id").status_code == 202
assert login("web-by-hand", "by hand", use_token=False)["auth"]
assert is_empty(approle.delete_role("web")) and is_empty(approle.delete_role("web"))
refused(InvalidRequest, lambda: login("web-by-hand", "by hand", use_token=False), "invalid role or secret ID")
refused(InvalidPath, lambda: approle.read_role("web"))
approle.create_or_update_approle("web")
approle.update_role_id("web", "web-by-hand")
refused(InvalidRequest, lambda: login("web-by-hand", "by hand", use_token=False), "invalid role or secret ID")

# At another path, and gone with its tokens.
client.sys.enable_auth_method("approle", path="team/apps")
approle.create_or_update_approle("x", token_policies=["reader"], mount_point="team/apps")
secret_id = approle.generate_secret_id("x", mount_point="team/apps")["data"]["secret_id"]
x_id = approle.read_role_id("x", mount_point="team/apps")["data"]["role_id"]
refused(InvalidRequest, lambda: login(x_id, secret_id, use_token=False))
logged_in = login(x_id, secret_id, use_token=False, mount_point="team/apps")["auth"]["client_token"]
assert told(logged_in)["path"] == "auth/team/apps/login"
client.sys.disable_auth_method("team/apps")
refused(Forbidden, lambda: with_token(logged_in).auth.token.lookup_self())
refused(VaultError, lambda: login(x_id, secret_id, use_token=False, mount_point="team/apps"))

client.sys.disable_auth_method("approle")
for name in ("reader", "maker", "wide", "never", "also", "lister", "looker", "creator", "updater", "sudoer"):
    client.sys.delete_policy(name)
for path in ("one", "two", "app/a", "app/b", "app/secret/x", "new/a"):
    client.secrets.kv.v2.delete_metadata_and_all_versions(path)

print("hvac is content")
