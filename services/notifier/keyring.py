"""The keyring: makes and recalls the secrets of endpoints with one master key."""

import hmac

from services.kernel.errors import RuleViolated
from services.notifier.signature import Seal, Secret, derive_secret


class WrongMasterKey(RuleViolated):
    """The endpoint was created with another master key; nothing can be signed for it."""

    default_reason = "WRONG_MASTER_KEY"


class Keyring:
    """Holds the master key. It is never logged, and never leaves the process."""

    def __init__(self, master_key: bytes) -> None:
        self._master_key = master_key

    def create(self, endpoint: str, salt: bytes) -> tuple[Secret, Seal]:
        """The secret of a new endpoint, and its seal for the log; `salt` is random."""
        secret = derive_secret(self._master_key, endpoint, salt)
        return secret, Seal(salt, secret.fingerprint)

    def recall(self, endpoint: str, seal: Seal) -> Secret:
        """The secret behind a seal; raises WrongMasterKey."""
        secret = derive_secret(self._master_key, endpoint, seal.salt)
        if not hmac.compare_digest(secret.fingerprint, seal.fingerprint):
            raise WrongMasterKey(
                f'endpoint "{endpoint}" was created with another master key; nothing is sent to it. Start the notifier '
                "with that key (METERLOG_WEBHOOK_MASTER_KEY), or delete the endpoint and create another"
            )
        return secret

    def problem(self, endpoint: str, seal: Seal) -> str:
        """Why nothing can be signed for an endpoint; empty when all is well."""
        try:
            self.recall(endpoint, seal)
        except WrongMasterKey as error:
            return error.message
        return ""
