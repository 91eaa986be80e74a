"""Every operation of the API. What is not here is not there."""

from functools import cache
from typing import Any, Final

from moorage.api.deletions import DeletedReply
from moorage.api.gate import Needs
from moorage.api.manage import (
    access,
    accounts,
    audit,
    backups,
    garbage,
    grants,
    groups,
    jobs,
    keys,
    mirroring,
    namespaces,
    repositories,
    retention,
    store,
    tokens,
    trash,
    upstreams,
    whoami,
)
from moorage.api.manage.documents import IdPage, NamePage, Page
from moorage.api.manage.jobs import JobReply
from moorage.api.manage.openapi import describe
from moorage.api.manage.routes import Ask, NoQuery, Route
from moorage.api.manage.tag_table import TAGS

_WHO = (Route("GET", "/whoami", whoami.get, Needs.ACCOUNT, whoami.Whoami, "Who the caller is."),)

_ACCOUNTS = (
    Route(
        "GET",
        "/accounts",
        accounts.list_all,
        Needs.AUDITOR,
        Page[accounts.AccountReply],
        "All accounts.",
        query=NamePage,
    ),
    Route(
        "POST",
        "/accounts",
        accounts.create,
        Needs.ADMIN,
        accounts.AccountReply,
        "Make an account; for a person also the namespace of that name.",
        status=201,
        body=accounts.NewAccount,
    ),
    Route(
        "GET",
        "/accounts/{name}",
        accounts.get,
        Needs.ACCOUNT,
        accounts.AccountReply,
        "One account: one's own, or as an auditor any.",
    ),
    Route(
        "PATCH",
        "/accounts/{name}",
        accounts.change,
        Needs.ADMIN,
        accounts.AccountReply,
        "Change role, description, or whether it may sign in.",
        body=accounts.AccountChange,
    ),
    Route(
        "DELETE",
        "/accounts/{name}",
        accounts.delete,
        Needs.ADMIN,
        None,
        "Remove an account, its tokens, grants and memberships.",
        status=204,
    ),
    Route(
        "PUT",
        "/accounts/{name}/password",
        accounts.set_password,
        Needs.ACCOUNT,
        None,
        "Change one's own password, or as an administrator anyone's.",
        status=204,
        body=accounts.PasswordChange,
    ),
)

_GROUPS = (
    Route(
        "GET",
        "/groups",
        groups.list_all,
        Needs.ACCOUNT,
        Page[groups.GroupReply],
        "The groups that one is in; for auditors all.",
        query=NamePage,
    ),
    Route(
        "POST",
        "/groups",
        groups.create,
        Needs.ADMIN,
        groups.GroupReply,
        "Make a group.",
        status=201,
        body=groups.NewGroup,
    ),
    Route(
        "GET",
        "/groups/{name}",
        groups.get,
        Needs.ACCOUNT,
        groups.GroupWithMembers,
        "One group and who is in it: for those in it, and auditors.",
    ),
    Route("DELETE", "/groups/{name}", groups.delete, Needs.ADMIN, None, "Remove a group.", status=204),
    Route(
        "PUT",
        "/groups/{name}/members/{account}",
        groups.add_member,
        Needs.ADMIN,
        None,
        "Put an account into a group.",
        status=204,
    ),
    Route(
        "DELETE",
        "/groups/{name}/members/{account}",
        groups.remove_member,
        Needs.ADMIN,
        None,
        "Take an account out of a group.",
        status=204,
    ),
)

_NAMESPACES = (
    Route(
        "GET",
        "/namespaces",
        namespaces.list_all,
        Needs.ACCOUNT,
        Page[namespaces.NamespaceReply],
        "Public namespaces and one's own; for auditors all.",
        query=NamePage,
    ),
    Route(
        "POST",
        "/namespaces",
        namespaces.create,
        Needs.ADMIN,
        namespaces.NamespaceReply,
        "Make a namespace.",
        status=201,
        body=namespaces.NewNamespace,
    ),
    Route(
        "GET",
        "/namespaces/{name}",
        namespaces.get,
        Needs.ACCOUNT,
        namespaces.NamespaceReply,
        "One namespace.",
    ),
    Route(
        "PATCH",
        "/namespaces/{name}",
        namespaces.change,
        Needs.ACCOUNT,
        namespaces.NamespaceReply,
        "Open or close a namespace as its owner; as an administrator give it to someone else too.",
        body=namespaces.NamespaceChange,
    ),
    Route(
        "DELETE",
        "/namespaces/{name}",
        namespaces.delete,
        Needs.ADMIN,
        None,
        "Forget who owns a namespace; its repositories stay.",
        status=204,
    ),
)

_GRANTS = (
    Route(
        "GET",
        "/grants",
        grants.list_all,
        Needs.ACCOUNT,
        Page[grants.GrantReply],
        "The grants that one could take back; for auditors all.",
        query=IdPage,
    ),
    Route(
        "POST",
        "/grants",
        grants.create,
        Needs.ACCOUNT,
        grants.GrantReply,
        "Give actions on a pattern, of which one has `admin` on all that it names.",
        status=201,
        body=grants.NewGrant,
    ),
    Route("GET", "/grants/{id}", grants.get, Needs.ACCOUNT, grants.GrantReply, "One grant."),
    Route("DELETE", "/grants/{id}", grants.delete, Needs.ACCOUNT, None, "Take a grant back.", status=204),
)

_TOKENS = (
    Route(
        "GET",
        "/tokens",
        tokens.list_all,
        Needs.ACCOUNT,
        Page[tokens.TokenReply],
        "One's own tokens; for auditors any account's.",
        query=tokens.TokenPage,
    ),
    Route(
        "POST",
        "/tokens",
        tokens.create,
        Needs.ACCOUNT,
        tokens.TokenWithSecret,
        "Make a token; its secret is in the reply and nowhere else.",
        status=201,
        body=tokens.NewToken,
    ),
    Route("GET", "/tokens/{id}", tokens.get, Needs.ACCOUNT, tokens.TokenReply, "One token."),
    Route(
        "DELETE", "/tokens/{id}", tokens.revoke, Needs.ACCOUNT, None, "Revoke a token at once.", status=204
    ),
)

_REPOSITORIES = (
    Route(
        "GET",
        "/repositories",
        repositories.list_all,
        Needs.ACCOUNT,
        Page[repositories.ListedRepository],
        "The repositories that one may pull from.",
        query=NamePage,
    ),
    Route(
        "POST",
        "/repositories",
        repositories.create,
        Needs.ACCOUNT,
        repositories.RepositoryReply,
        "Make a repository, for which one has `push`.",
        status=201,
        body=repositories.NewRepository,
    ),
    Route(
        "GET",
        "/repositories/{name...}",
        repositories.get,
        Needs.ACCOUNT,
        repositories.RepositoryReply,
        "One repository. Its slashes may be sent as they are.",
    ),
    Route(
        "PATCH",
        "/repositories/{name...}",
        repositories.rename,
        Needs.ACCOUNT,
        repositories.RepositoryReply,
        "Give a repository another name; one has `admin` on both.",
        body=repositories.RepositoryChange,
    ),
    Route(
        "DELETE",
        "/repositories/{name...}",
        repositories.delete,
        Needs.ACCOUNT,
        repositories.DeletedRepositoryReply,
        "Put a repository, of which one has `delete`, and all that is in it into the trash.",
    ),
)

_TRASH = (
    Route(
        "DELETE",
        "/manifests/{name...}",
        trash.delete,
        Needs.ACCOUNT,
        DeletedReply,
        "Put a manifest, its tags and what only it needs into the trash, as one has `delete`.",
        query=trash.ByDigest,
    ),
    Route(
        "GET",
        "/trash",
        trash.list_all,
        Needs.ACCOUNT,
        Page[trash.DeletionReply],
        "What was deleted of repositories that one may pull from, and can be restored.",
        query=trash.TrashPage,
    ),
    Route("GET", "/trash/{id}", trash.get, Needs.ACCOUNT, trash.DeletionReply, "One deletion."),
    Route(
        "POST",
        "/trash/{id}/restore",
        trash.restore,
        Needs.ACCOUNT,
        trash.RestoredReply,
        "Serve again what was deleted of a repository of which one has `push`, with its tags.",
    ),
    Route(
        "DELETE",
        "/trash/{id}",
        trash.purge,
        Needs.ACCOUNT,
        trash.DeletionReply,
        "End a deletion's time in the trash, in a repository of which one has `delete`.",
    ),
    Route(
        "GET",
        "/deleted-repositories",
        trash.list_repositories,
        Needs.ACCOUNT,
        Page[repositories.DeletedRepositoryReply],
        "Deleted repositories that one could pull from.",
        query=trash.DeletedPage,
    ),
    Route(
        "POST",
        "/deleted-repositories/{id}/restore",
        trash.restore_whole,
        Needs.ACCOUNT,
        trash.RestoredRepositoryReply,
        "Serve a deleted repository again, for which one has `push`.",
        body=trash.RepositoryRestoration,
    ),
    Route(
        "DELETE",
        "/deleted-repositories/{id}",
        trash.purge_whole,
        Needs.ACCOUNT,
        repositories.DeletedRepositoryReply,
        "End a deleted repository's time in the trash.",
    ),
)

_GARBAGE = (
    Route("GET", "/garbage", garbage.show, Needs.AUDITOR, garbage.StatusReply, "What the store holds."),
    Route(
        "GET",
        "/garbage/plan",
        garbage.plan,
        Needs.AUDITOR,
        garbage.PlanReply,
        "What of it goes when.",
        query=garbage.PlanPage,
    ),
    Route(
        "POST",
        "/garbage/runs",
        garbage.run,
        Needs.ADMIN,
        JobReply,
        "Collect what is garbage by now.",
        status=202,
    ),
)

_RECORDS = (
    Route(
        "GET",
        "/audit",
        audit.list_all,
        Needs.AUDITOR,
        Page[audit.EntryReply],
        "Who did what: the newest first, or what came after a row.",
        query=audit.AuditPage,
    ),
    Route("GET", "/keys", keys.list_all, Needs.AUDITOR, keys.KeysReply, "The public keys of bearer tokens."),
    Route(
        "POST",
        "/keys",
        keys.rotate,
        Needs.ADMIN,
        keys.KeyReply,
        "Sign bearer tokens by a new key; those by the old ones stay good.",
        status=201,
    ),
    Route(
        "GET",
        "/access/explain",
        access.explain,
        Needs.ACCOUNT,
        access.Explanation,
        "Whether an account may do something, and by which rule: one's own, or as an auditor anyone's.",
        query=access.Question,
    ),
)


_JOBS = (
    Route(
        "GET",
        "/jobs",
        jobs.list_all,
        Needs.AUDITOR,
        Page[jobs.JobReply],
        "Work that was asked for, the newest first: waiting, under way, ended.",
        query=jobs.JobPage,
    ),
    Route(
        "GET",
        "/jobs/{id}",
        jobs.get,
        Needs.ACCOUNT,
        jobs.JobReply,
        "One job: that one asked for, or as an auditor any.",
    ),
    Route(
        "POST",
        "/jobs/{id}/cancel",
        jobs.cancel,
        Needs.ADMIN,
        jobs.JobReply,
        "Have a job stop: at once if it waits, else within a second or two.",
    ),
    Route(
        "POST",
        "/jobs/{id}/retry",
        jobs.retry,
        Needs.ADMIN,
        jobs.JobReply,
        "Have a job that failed or was cancelled tried again.",
    ),
)


_STORE = (
    Route(
        "GET",
        "/store",
        store.show,
        Needs.AUDITOR,
        store.StoreReply,
        "Whether rows and files belong together: what the last check found, and what is mistrusted.",
    ),
    Route(
        "POST",
        "/store/check",
        store.check,
        Needs.ADMIN,
        JobReply,
        "Compare rows and files both ways, as a job. What no row names is put aside a day later.",
        status=202,
        body=store.CheckOrder,
    ),
    Route(
        "POST",
        "/store/accept",
        store.accept,
        Needs.ADMIN,
        store.StoreReply,
        "Trust the store again after a check, whatever is lost; garbage is collected again.",
    ),
    Route(
        "GET",
        "/store/damaged",
        store.list_damaged,
        Needs.AUDITOR,
        Page[store.DamagedReply],
        "Blobs that are gone or were wrong, and the images to push again.",
        query=store.DamagedPage,
    ),
    Route(
        "GET", "/scrub", store.show_scrub, Needs.AUDITOR, store.ScrubReply, "How far the reading of all is."
    ),
    Route(
        "POST",
        "/scrub",
        store.scrub,
        Needs.ADMIN,
        JobReply,
        "Read everything again and compare it with its digest, as a job.",
        status=202,
        body=store.ScrubOrder,
    ),
    Route(
        "POST",
        "/verify",
        store.verify,
        Needs.ADMIN,
        JobReply,
        "Read one image again, end to end, as a job.",
        status=202,
        body=store.VerifyOrder,
    ),
    Route(
        "GET",
        "/backups",
        backups.list_all,
        Needs.AUDITOR,
        backups.BackupsReply,
        "The backups in backup.folder.",
    ),
    Route(
        "POST",
        "/backups",
        backups.make,
        Needs.ADMIN,
        JobReply,
        "Make a backup into backup.folder, as a job.",
        status=202,
    ),
)


async def show_document(ask: Ask[None, NoQuery]) -> dict[str, Any]:  # noqa: ARG001 - asked by anyone
    """What the API is, for programs."""
    return _describe_all()


@cache
def _describe_all() -> dict[str, Any]:
    return describe(TABLE)


TABLE: Final = (
    *_WHO,
    *_ACCOUNTS,
    *_GROUPS,
    *_NAMESPACES,
    *_REPOSITORIES,
    *TAGS,
    *_GRANTS,
    *_TOKENS,
    *_TRASH,
    *_GARBAGE,
    *_RECORDS,
    *retention.ROUTES,
    # before the names of upstreams
    *mirroring.ROUTES,
    *upstreams.ROUTES,
    *_JOBS,
    *_STORE,
    Route("GET", "/openapi.json", show_document, Needs.NOTHING, dict[str, Any], "This document."),
)
