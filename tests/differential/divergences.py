"""Where smpplib 2.2.4 and our codec part, each by name and with the reason why ours stays as it is.

A name here is used by a test that shows the divergence: when smpplib mends one, that test fails and the name goes.
"""

# It has no class for these commands: "Command … is not supported", or no id at all for the broadcast family. They are
# in the standard, and a peer of ours may send them.
COMMANDS_IT_LACKS = frozenset(
    {
        "outbind",
        "replace_sm",
        "replace_sm_resp",
        "cancel_sm",
        "cancel_sm_resp",
        "submit_multi",
        "submit_multi_resp",
        "broadcast_sm",
        "broadcast_sm_resp",
        "query_broadcast_sm",
        "query_broadcast_sm_resp",
        "cancel_broadcast_sm",
        "cancel_broadcast_sm_resp",
    }
)

# An unterminated string makes it take the rest of the PDU and go on reading fields from the wrong places: the message
# that comes out was never sent. 3.4 §3.1: a C-octet string ends in a NUL, and what is not whole is answered.
TAKES_STRINGS_WITHOUT_NUL = "a string without NUL shifts the fields behind it"

# It has no limits when it reads, only when it writes, and there it cuts silently.
TAKES_LONG_STRINGS = "strings over their limit are read as they are"
# Addresses of data_sm and alert_notification have 65 octets in the standard (§4.7.1, §4.12.1); it cuts them at 21.
LIMIT_OCTETS_IT_LOWERS = {
    ("data_sm", "source_addr"): 21,
    ("data_sm", "destination_addr"): 21,
    ("alert_notification", "source_addr"): 21,
    ("alert_notification", "esme_addr"): 21,
}
CUTS_LONG_STRINGS = "strings over their limit are cut without a word when written"

# Python slices end where the octets end, so a length past the end gives what there is.
TAKES_LENGTHS_PAST_THE_END = "sm_length and TLV lengths past the end give a shorter value"

# Stray octets behind the fields end in struct.error, which is no exception of its own; ours names status and offset.
LEAVES_STRUCT_ERROR = "a broken TLV header raises struct.error"

# Typed as text there, so the last octet is taken for a NUL and lost: 3 becomes nothing, 03 00 1b becomes 03 00.
TLVS_IT_MISREADS = frozenset({("data_sm_resp", "delivery_failure_reason"), ("data_sm_resp", "network_error_code")})
