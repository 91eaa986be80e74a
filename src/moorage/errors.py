"""Every refusal a client can be told: one class per row of the protocol's error table.

A refusal is raised where the rule stands and rendered once, by `api/v2/errors.py`. What is passed as
`detail` is shown to the client, so it holds nothing that the client may not know.

    RegistryError
      NameInvalid NameUnknown                                    repositories
      DigestInvalid SizeInvalid BlobUnknown                      blobs
      UploadUnknown ChunkOutOfOrder UploadBusy TooManyUploads    uploads
      BodyTooLarge BodyTooSlow BodyCut EncodingUnsupported       bodies
      ManifestUnknown ManifestInvalid ManifestTooLarge ManifestBlobUnknown TagInvalid TooManyTags
      TagImmutable TagNotRestored TagUnknown RuleUnknown         tags that stay, and that come back
      ContentNeeded ContentGone DeletionUnknown                  deleting and restoring
      PageInvalid RangeUnsatisfiable PreconditionFailed Denied Unsupported MethodNotAllowed RouteUnknown
      Unauthorized                                               who asks is not known, or not by this
        BearerInvalid ScopeInsufficient CredentialsInvalid PasswordRefused ExchangeRefused
      TooManySignIns ServiceInvalid ScopesInvalid ClaimInvalid SignInRefused     signing in
      FieldInvalid DocumentTooLarge                              the API's documents
      AccountNameInvalid NameTaken PasswordInvalid PatternInvalid ActionsInvalid LastAdmin
      AccountUnknown GroupUnknown NamespaceUnknown GrantUnknown TokenUnknown     accounts and what they may do
      UpstreamUnknown UpstreamStateInvalid                       other registries
      CheckFirst                                                 keeping the store
      JobUnknown JobStateInvalid                                 jobs
      RequestInvalid TooManyRequests HeadersTooLarge TargetTooLong    what is no proper request
      HttpsRequired                                                   what is no TLS, where TLS is spoken
      StorageFailed ContentDamaged                                    the disk failed, or had failed
      Unavailable                                                     not now
        StorageReadOnly StorageFull DatabaseBusy DatabaseFull IssuerUnavailable
      UpstreamFailed UpstreamUnreachable TooManyMisses                another registry was asked in vain

Source: distribution-spec main (967efdc), "Error Codes"; statuses as the clients expect them.
"""

from typing import ClassVar

SHOWN_MAX = 1_000
"""Missing digests that one reply names."""


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


class RegistryError(Exception):
    """A refusal with a status, a code from the specification's table and a sentence for a person."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "UNKNOWN"
    message: ClassVar[str] = "unknown error"

    def __init__(self, **detail: object) -> None:
        super().__init__(self.message)
        self.detail = detail

    def __str__(self) -> str:
        told = ", ".join(f"{name}: {_shown(value)}" for name, value in self.detail.items())
        return f"{self.message} ({told})" if told else self.message

    @property
    def entries(self) -> list[dict[str, object]]:
        """The `errors` list of the reply: at least one entry of code, message and detail.

        The reason goes into the message too: it is all that docker shows.
        """
        reason = self.detail.get("reason")
        message = self.message if reason is None else f"{self.message}: {reason}"
        return [{"code": self.code, "message": message, "detail": self.detail}]


class NameInvalid(RegistryError):
    """The repository name does not follow the grammar or is too long."""

    status, code = 400, "NAME_INVALID"
    message = (
        "invalid repository name: want lower-case letters and digits, parted by '.', '_', '-' or '/',"
        " as team/app, at most 255 characters"
    )


class NameUnknown(RegistryError):
    """The repository does not exist."""

    status, code, message = 404, "NAME_UNKNOWN", "repository name not known to registry"


class DigestInvalid(RegistryError):
    """A digest that does not parse, is of an unknown algorithm, or is not that of the content."""

    status, code, message = 400, "DIGEST_INVALID", "digest invalid, or not that of the content"


class SizeInvalid(RegistryError):
    """The body's length is not the length that was declared."""

    status, code, message = 400, "SIZE_INVALID", "provided length did not match content length"


class BlobUnknown(RegistryError):
    """The blob is not in this repository."""

    status, code, message = 404, "BLOB_UNKNOWN", "blob unknown to registry"


class UploadUnknown(RegistryError):
    """No such upload in this repository: never begun, finished, cancelled or expired."""

    status, code, message = 404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry"


class ChunkOutOfOrder(RegistryError):
    """A chunk does not start where the last one ended. `received` bytes are held."""

    status, code, message = 416, "BLOB_UPLOAD_INVALID", "blob upload invalid: chunk out of order"

    def __init__(self, *, upload_id: str, received: int, **detail: object) -> None:
        super().__init__(received_bytes=received, **detail)
        self.upload_id = upload_id
        self.received = received


class UploadBusy(RegistryError):
    """Another request is writing to this upload at this moment."""

    status, code, message = 409, "BLOB_UPLOAD_INVALID", "another request is writing to this blob upload"


class TooManyUploads(RegistryError):
    """As many uploads are open as one client may have."""

    status, code, message = 429, "TOOMANYREQUESTS", "too many open blob uploads; finish or cancel some"


class ManifestUnknown(RegistryError):
    """The tag or digest is not in this repository."""

    status, code, message = 404, "MANIFEST_UNKNOWN", "manifest unknown to registry"


class ContentNeeded(RegistryError):
    """A served manifest refers to what was to be deleted. `needed_by` is its digest."""

    status, code, message = 409, "DENIED", "an image needs this"

    def __init__(self, *, digest: str, needed_by: str) -> None:
        super().__init__(
            digest=digest,
            needed_by=needed_by,
            reason=f"delete {needed_by} first, or set delete.needed",
        )


class ContentGone(RegistryError):
    """What was deleted cannot be restored whole: a blob of it is gone for good."""

    status, code, message = 409, "CONTENT_GONE", "a part of it is gone for good; push the image again"


class DeletionUnknown(RegistryError):
    """No such deletion in the trash: never made, restored, or its time is over."""

    status, code, message = 404, "DELETION_UNKNOWN", "no such deletion in the trash"


class ManifestInvalid(RegistryError):
    """The manifest is not what its media type says, or cannot be read in one way only."""

    status, code, message = 400, "MANIFEST_INVALID", "manifest invalid"


class ManifestTooLarge(RegistryError):
    """The manifest is larger than this registry takes."""

    status, code, message = 413, "MANIFEST_INVALID", "manifest too large"


class ManifestBlobUnknown(RegistryError):
    """The manifest names blobs or manifests that this repository does not have."""

    status, code, message = 400, "MANIFEST_BLOB_UNKNOWN", "manifest references a blob unknown to repository"

    def __init__(self, digests: list[str]) -> None:
        super().__init__(digests=digests[:SHOWN_MAX])

    @property
    def entries(self) -> list[dict[str, object]]:
        """One entry per missing digest."""
        digests = self.detail["digests"]
        assert isinstance(digests, list)  # noqa: S101 - set by __init__
        return [
            {"code": self.code, "message": self.message, "detail": {"digest": digest}} for digest in digests
        ]


class TagInvalid(RegistryError):
    """The tag does not follow the grammar."""

    status, code, message = 400, "TAG_INVALID", "manifest tag did not match [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}"


class TooManyTags(RegistryError):
    """More `tag` parameters than one request may carry."""

    status, code, message = 414, "TAG_INVALID", "too many tag parameters in one request"


class TagImmutable(RegistryError):
    """A rule says that the tag stays where it is. The code is one that docker prints in words."""

    status, code, message = 409, "DENIED", "the tag is fixed"


class TagNotRestored(RegistryError):
    """The tag cannot go back there: it was nowhere then, or the image is gone for good."""

    status, code, message = 409, "TAG_NOT_RESTORED", "the tag cannot be put back"


class TagUnknown(RegistryError):
    """The tag is not in this repository."""

    status, code, message = 404, "TAG_UNKNOWN", "there is no such tag"


class RuleUnknown(RegistryError):
    """No rule of this number, or not for the one who asks."""

    status, code, message = 404, "RULE_UNKNOWN", "there is no such rule"


class PageInvalid(RegistryError):
    """`n` is not a number of entries, or `last` cannot be a name."""

    status, code, message = 400, "PAGINATION_NUMBER_INVALID", "invalid page: n must be a whole number from 0"


class RangeUnsatisfiable(RegistryError):
    """No part of the blob lies in the range that was asked for. `size` is the whole blob's."""

    status, code, message = 416, "RANGE_INVALID", "requested range not satisfiable"

    def __init__(self, *, size: int) -> None:
        super().__init__(size_bytes=size)
        self.size = size


class PreconditionFailed(RegistryError):
    """If-Match or If-None-Match does not hold for what the tag names now."""

    status, code, message = 412, "MANIFEST_INVALID", "precondition failed: the tag has another digest now"


class Denied(RegistryError):
    """Whoever asks may not do this."""

    status, code, message = 403, "DENIED", "requested access to the resource is denied"


class Unsupported(RegistryError):
    """The operation is switched off."""

    status, code, message = 405, "UNSUPPORTED", "the operation is unsupported"


class MethodNotAllowed(RegistryError):
    """The route exists; the method does not apply to it."""

    status, code, message = 405, "UNSUPPORTED", "method not allowed here"

    def __init__(self, *, allow: str) -> None:
        super().__init__(allow=allow)
        self.allow = allow


class RouteUnknown(RegistryError):
    """No endpoint has this path."""

    status, code, message = 404, "UNSUPPORTED", "no such endpoint"


class BodyTooLarge(RegistryError):
    """The blob is larger than this registry takes."""

    status, code, message = 413, "SIZE_INVALID", "blob larger than this registry accepts"


class BodyTooSlow(RegistryError):
    """The body stopped, or came slower than the registry waits for."""

    status, code, message = 408, "BLOB_UPLOAD_INVALID", "request body too slow; the upload can be resumed"


class BodyCut(RegistryError):
    """The client left, or its framing broke, before the body was complete."""

    status, code, message = 400, "SIZE_INVALID", "request body ended early or was malformed"


class RequestInvalid(RegistryError):
    """What came is not HTTP/1.1, or could be read in two ways."""

    status, code, message = 400, "UNSUPPORTED", "malformed HTTP request"


class HttpsRequired(RegistryError):
    """Plain HTTP came to a port that speaks TLS."""

    status, code, message = 400, "UNSUPPORTED", "this is an HTTPS address: use https:// in place of http://"


class TooManyRequests(RegistryError):
    """More requests than a connection may have waiting."""

    status, code, message = 429, "TOOMANYREQUESTS", "too many requests on one connection"


class HeadersTooLarge(RegistryError):
    """The header fields are larger than any client of a registry needs."""

    status, code, message = 431, "UNSUPPORTED", "request header fields too large"


class TargetTooLong(RegistryError):
    """The path and query are longer than any name can be."""

    status, code, message = 414, "NAME_INVALID", "request target too long"


class EncodingUnsupported(RegistryError):
    """The body carries a Content-Encoding: a digest is over the bytes as stored."""

    status, code, message = 415, "UNSUPPORTED", "send the body without Content-Encoding"


class Unavailable(RegistryError):
    """The registry cannot do this now; it is not the client's fault."""

    status, code, message = 503, "UNAVAILABLE", "the registry cannot do this now; try again later"
    retry_after_s: ClassVar[int] = 5


class StorageFailed(RegistryError):
    """The disk failed while this request was written; nothing of it was kept."""

    message = "the registry's storage failed; nothing of this request was kept"


class ContentDamaged(RegistryError):
    """The stored bytes are not those that the digest names; they are not served."""

    message = "the stored content is damaged and was not sent; push the image again"


class StorageReadOnly(Unavailable):
    """The disk failed to keep its word, or cannot be written to. Pulls go on."""

    message = "the registry is read-only: its storage failed; pulls go on, an operator must look"
    retry_after_s = 60


class StorageFull(Unavailable):
    """No room for what was to be written."""

    status, message = 507, "the registry is out of disk space; pulls go on"
    retry_after_s = 60


class DatabaseBusy(Unavailable):
    """Another process held the database for longer than a request waits."""

    message = "the registry's database is busy; try again"


class DatabaseFull(Unavailable):
    """No room for the database to grow; nothing was changed."""

    message = "the registry is out of disk space; nothing was changed and pulls go on"
    retry_after_s = 60


class IssuerUnavailable(Unavailable):
    """Who signs the tokens, or signs people in, cannot be asked; the log has the reason."""

    message = "the token's issuer cannot be asked now; try again later"
    retry_after_s = 60


class Unauthorized(RegistryError):
    """No one is known to ask, or not with this. `challenge` is what a client may do about it."""

    status, code, message = 401, "UNAUTHORIZED", "authentication required"

    def __init__(self, **detail: object) -> None:
        super().__init__(**detail)
        self.challenge = ""


class BearerInvalid(Unauthorized):
    """A bearer token that this registry did not give, or that counts no more."""

    message = "the token is not valid here, or no longer; sign in again"


class ScopeInsufficient(Unauthorized):
    """A bearer token that is good, but not for this."""

    message = "the token does not allow this"


class CredentialsInvalid(Unauthorized):
    """A wrong name, password or token: which of them is not told."""

    message = "incorrect user name or password; a token may stand for the password"


class PasswordRefused(Unauthorized):
    """A password came over a line that anyone can read."""

    message = "passwords are not taken over plain HTTP: use https, or a token made for this"


class ExchangeRefused(Unauthorized):
    """A token of another issuer that does not count here; the reason names the check it failed."""

    message = "the token of the other issuer was refused"


class SignInRefused(RegistryError):
    """Someone came back from the provider and is not let in; the reason names the check that failed."""

    status, code, message = 403, "DENIED", "signing in was refused"


class TooManySignIns(RegistryError):
    """More wrong passwords, or more passwords at once, than the registry takes."""

    status, code, message = 429, "TOOMANYREQUESTS", "too many attempts to sign in; wait and try again"

    def __init__(self, *, retry_after_s: int = 60) -> None:
        super().__init__(retry_after_s=retry_after_s)
        self.retry_after_s = retry_after_s


class ServiceInvalid(RegistryError):
    """A token was asked for a service that this is not, or in a way that is none."""

    status, code, message = 400, "UNSUPPORTED", "the token endpoint does not know what was asked for"


class ScopesInvalid(RegistryError):
    """More scopes than one token is given for."""

    status, code, message = 400, "UNSUPPORTED", "too many scopes in one request for a token"


class FieldInvalid(RegistryError):
    """A document or a query of the API is not as it is described. `field` is the one that is wrong."""

    status, code, message = 400, "FIELD_INVALID", "a field of the request is not as it is described"


class DocumentTooLarge(RegistryError):
    """A document is larger than any that the API takes."""

    status, code, message = 413, "SIZE_INVALID", "the request body is larger than the API takes"


class AccountNameInvalid(RegistryError):
    """A name for an account, a group or a namespace that is not plain."""

    status, code, message = 400, "NAME_INVALID", "this cannot be a name"


class NameTaken(RegistryError):
    """The name, or one that looks like it, is in use."""

    status, code, message = 409, "NAME_TAKEN", "the name is taken, or looks like one that is"


class PasswordInvalid(RegistryError):
    """A password that is too short, or too long."""

    status, code, message = 400, "PASSWORD_INVALID", "the password cannot be used"


class PatternInvalid(RegistryError):
    """A pattern of repositories that names none."""

    status, code, message = 400, "PATTERN_INVALID", "this is no pattern of repository names"


class ActionsInvalid(RegistryError):
    """Actions that there are not."""

    status, code, message = 400, "ACTIONS_INVALID", "these are no actions"


class AccountUnknown(RegistryError):
    """No account of this name, or not for the one who asks."""

    status, code, message = 404, "ACCOUNT_UNKNOWN", "there is no such account"


class GroupUnknown(RegistryError):
    """No group of this name, or not for the one who asks."""

    status, code, message = 404, "GROUP_UNKNOWN", "there is no such group"


class NamespaceUnknown(RegistryError):
    """No namespace of this name, or not for the one who asks."""

    status, code, message = 404, "NAMESPACE_UNKNOWN", "there is no such namespace"


class UpstreamUnknown(RegistryError):
    """No upstream of this name."""

    status, code, message = 404, "UPSTREAM_UNKNOWN", "there is no such upstream"


class UpstreamStateInvalid(RegistryError):
    """This cannot be done to the upstream as it is."""

    status, code, message = 409, "UPSTREAM_STATE_INVALID", "not with the upstream as it is"


class GrantUnknown(RegistryError):
    """No grant of this number, or not for the one who asks."""

    status, code, message = 404, "GRANT_UNKNOWN", "there is no such grant"


class TokenUnknown(RegistryError):
    """No token of this number, or not for the one who asks."""

    status, code, message = 404, "TOKEN_UNKNOWN", "there is no such token"


class JobUnknown(RegistryError):
    """There is no job of this number, or none that the caller may know of."""

    status, code, message = 404, "JOB_UNKNOWN", "there is no such job"


class JobStateInvalid(RegistryError):
    """The job is in no state in which this can be done."""

    status, code, message = 409, "JOB_STATE_INVALID", "not with the job as it is"


class ClaimInvalid(RegistryError):
    """A claim link that was used, has expired, or never was one."""

    status, code, message = 403, "CLAIM_INVALID", "this link was used or has expired"


class LastAdmin(RegistryError):
    """The change would leave no one to administer the registry."""

    status, code, message = 409, "LAST_ADMIN", "this would leave no administrator; make another one first"


class CheckFirst(RegistryError):
    """The store is mistrusted, and no one has looked at what is lost since."""

    status, code, message = 409, "CHECK_FIRST", "the store has to be checked first: moorage store check"


class UpstreamFailed(RegistryError):
    """Another registry, whose content is mirrored here, answered with an error or with wrong bytes."""

    status, code, message = 502, "UNAVAILABLE", "the upstream registry failed"


class UpstreamUnreachable(RegistryError):
    """Another registry, whose content is mirrored here, does not answer, or is not to be asked."""

    status, code, message = 504, "UNAVAILABLE", "the upstream registry cannot be asked"


class TooManyMisses(RegistryError):
    """A client has asked for more that another registry does not have than that is to be asked for it."""

    status, code = 429, "TOOMANYREQUESTS"
    message = "too much was asked for that the upstream registry does not have"

    def __init__(self, *, retry_after_s: int = 60, **detail: object) -> None:
        super().__init__(retry_after_s=retry_after_s, **detail)
        self.retry_after_s = retry_after_s
