/* SPDX-License-Identifier: MIT */
/*
 * message-ids.h: what the entries of the journal are called by (MESSAGE_ID=, sd-journal).
 *
 * Each is explained in etc/capd.catalog, which "journalctl -x" shows; tests/lint compares the two. An id is for ever: what means
 * something else gets another one ("systemd-id128 new").
 */
#ifndef CAPD_MESSAGE_IDS_H
#define CAPD_MESSAGE_IDS_H

/* A group's state has changed, to this one. In the order of enum group_state. */
#define MESSAGE_STATE_OK            "65c20aa790ae4ccc96cbdd0d4184ed24"
#define MESSAGE_STATE_OVER          "3717232e589044d6848ab47bb8de934e"
#define MESSAGE_STATE_ENFORCING     "0d538040d0114ff682a4ef59f0972023"
#define MESSAGE_STATE_THRASHING     "cf846a44418c4d7e8aa6640c3182ec8b"
#define MESSAGE_STATE_UNENFORCEABLE "858671d16f3a46cdb3ef9fe86abd1a49"
#define MESSAGE_STATE_OBSERVED      "a735204d841b4352bebb4fc675f75f27"
#define MESSAGE_STATE_PAUSED        "00fcb1bc923349758068ad9c78484e0e"
#define MESSAGE_STATE_UNKNOWN       "9fa8c5d2e0e94d4dacb5f29f8a45778e"

/* What was done to a group. */
#define MESSAGE_ACT          "d83c26c76f36430a8be5e7c6fa8157de"
#define MESSAGE_ACT_TROUBLE  "b37bb5e1430e4a7c984d4751048c1c64"
#define MESSAGE_KILLED       "d63af2cb03864813889937fef1ad4c24"
#define MESSAGE_NOT_KILLED   "866aa332f17e4ea7b94cd1f9bc5c1fd8"
#define MESSAGE_MOVED        "89c960ea45984dd480019218022d05c1"
#define MESSAGE_MOVE_TROUBLE "275f9183a80c4eddac09074f0374afb1"
#define MESSAGE_PUT_BACK     "7e072bf4b143461d8a857be3f22daf0b"
#define MESSAGE_NOT_PUT_BACK "e5f592f5dc294d24861340f81eb8208f"

/* What somebody asked for. */
#define MESSAGE_REQUEST   "af03d9c87ca6408da42995d4100afbe7"
#define MESSAGE_REFUSED   "9b617cf5d4534a24b90c838589005f1c"
#define MESSAGE_CAP_ENDED "99a279f13c224d788ae662cf279eb1cb"

/* The configuration. */
#define MESSAGE_RELOADED      "c05d1aab5eda42e6bb8433b513d0bd03"
#define MESSAGE_RELOAD_FAILED "30b264b8b0d1413e9502e6e5747ee9c9"

/* capd itself. */
#define MESSAGE_SUPPRESSED  "c1ad628f5f72427cbd8437ee1fead763"
#define MESSAGE_FRONT_ENDED "38b8a66843334b20a313bd0c9576b5ec"
#define MESSAGE_QUARANTINED "f09892d219fb4bb690e3947f398496d3"

#endif
