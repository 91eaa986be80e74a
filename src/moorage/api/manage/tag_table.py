"""The operations of the API on tags, their history, their pins and the rules that fix them."""

from typing import Final

from moorage.api.gate import Needs
from moorage.api.manage import immutability, tags
from moorage.api.manage.documents import IdPage, Page
from moorage.api.manage.routes import Route

TAGS: Final = (
    Route(
        "GET",
        "/tags/{name...}",
        tags.list_all,
        Needs.ACCOUNT,
        Page[tags.TagReply],
        "A repository's tags, by version, by time, by the last pull or by name.",
        query=tags.TagsPage,
    ),
    Route(
        "DELETE",
        "/tags/{name...}",
        tags.delete,
        Needs.ACCOUNT,
        tags.DeletedTagReply,
        "Remove a tag, where one has `delete`; what it points to stays.",
        query=tags.OneTag,
    ),
    Route(
        "GET",
        "/history/{name...}",
        tags.list_history,
        Needs.ACCOUNT,
        Page[tags.EventReply],
        "Who moved a repository's tags, or one of them, when, from where to where.",
        query=tags.HistoryPage,
    ),
    Route(
        "POST",
        "/history/{name...}",
        tags.restore,
        Needs.ACCOUNT,
        tags.RestoredReply,
        "Put a tag back to where it was, where one has `push`.",
        body=tags.Restore,
    ),
    Route(
        "PUT",
        "/pins/{name...}",
        tags.pin,
        Needs.ACCOUNT,
        None,
        "Let retention never take a tag, where one has `push`.",
        status=204,
        query=tags.OneTag,
    ),
    Route(
        "DELETE",
        "/pins/{name...}",
        tags.unpin,
        Needs.ACCOUNT,
        None,
        "Let retention decide about a tag again.",
        status=204,
        query=tags.OneTag,
    ),
    Route(
        "GET",
        "/immutability",
        immutability.list_all,
        Needs.ACCOUNT,
        Page[immutability.ImmutabilityReply],
        "The rules that fix tags, which one could remove; for auditors all.",
        query=IdPage,
    ),
    Route(
        "POST",
        "/immutability",
        immutability.create,
        Needs.ACCOUNT,
        immutability.ImmutabilityReply,
        "Fix the tags of a pattern in repositories of which one has `admin`.",
        status=201,
        body=immutability.NewImmutability,
    ),
    Route(
        "GET",
        "/immutability/{id}",
        immutability.get,
        Needs.ACCOUNT,
        immutability.ImmutabilityReply,
        "One rule that fixes tags.",
    ),
    Route(
        "DELETE",
        "/immutability/{id}",
        immutability.delete,
        Needs.ACCOUNT,
        None,
        "Let the tags of a rule move again.",
        status=204,
    ),
)
