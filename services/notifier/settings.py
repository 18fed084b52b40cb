"""The settings of the notifier beside those that every service has."""

from services.notifier.master_key import MASTER_KEY_FILE, MASTER_KEY_SETTING
from services.notifier.network import ALLOW_SETTING
from services.rpc.settings import Setting

ALLOW_HTTP_SETTING = "METERLOG_WEBHOOK_ALLOW_HTTP"
DRY_RUN_SETTING = "METERLOG_WEBHOOK_DRY_RUN"
TIMEOUT_SETTING = "METERLOG_WEBHOOK_TIMEOUT_S"
CONCURRENCY_SETTING = "METERLOG_WEBHOOK_CONCURRENCY"

TIMEOUT_MAX_S = 30
CONCURRENCY_MAX = 512

SETTINGS = (
    Setting(
        MASTER_KEY_SETTING,
        "",
        "Base64 of 32 random bytes or more, from which the secrets of all endpoints are derived; keep it. Default: "
        f"{MASTER_KEY_FILE} in the folder keys below METERLOG_VAR, created at first start.",
    ),
    Setting(ALLOW_HTTP_SETTING, "false", "true: http:// addresses are allowed, for receivers on a safe network."),
    Setting(
        ALLOW_SETTING,
        "",
        "Networks that are not public and may be sent to all the same, such as 10.1.0.0/16,::1/128; metadata services "
        "and link-local addresses stay blocked.",
    ),
    Setting(DRY_RUN_SETTING, "false", "true: every endpoint is treated as dry_run; messages are signed, never posted."),
    Setting(TIMEOUT_SETTING, "15", f"Seconds until an attempt counts as timed out, 1 to {TIMEOUT_MAX_S}."),
    Setting(CONCURRENCY_SETTING, "64", f"Deliveries under way at once, 1 to {CONCURRENCY_MAX}."),
)
