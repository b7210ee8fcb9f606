"""How an event of each kind is stored, for ever: its text, and what it is read as."""

from ledger.domain.alert_events import AlertAcknowledged, AlertBegan, AlertEnded
from ledger.domain.archive_events import ArchivedFile, EventsArchived
from ledger.domain.erasure_events import Redacted, UserErased
from ledger.domain.event_types import Event
from ledger.domain.events import (
    BodyRejected,
    Configured,
    DeliveryReceived,
    ItemRejected,
    ServiceStarted,
    ServiceStopped,
    SessionId,
    WebhookObserved,
)
from ledger.domain.imported import PresenceImported, SourceImported
from ledger.domain.nodes import NodeState, OpenRun
from ledger.domain.override_events import OverrideEnded, OverrideSet
from ledger.domain.policy import Policy
from ledger.domain.presence import Cause, Device, Flip, Presence, Session
from ledger.domain.profile import Profile
from ledger.domain.recent import Body
from ledger.domain.reconciliation_events import (
    BreakerClosed,
    BreakerOpened,
    Corrected,
    Finding,
    Located,
    NodeBooted,
    NodeDown,
    NodeSettled,
    OpenedSession,
    PollObserved,
    RunCounts,
    RunEnded,
    RunStarted,
    SourceDark,
    SourceLit,
    Swept,
    TierSet,
)

AT = 1_800_000_000_000_001

STORED: dict[str, tuple[str, Event]] = {
    "webhook_observed.v2": (
        (
            '["main","n1","d",3,"u-0-0-5-0-0",1800000000000001,"closed","offline_of_open","online","offline",0,false,5,'
            'true,false,"n1","sweep_of_recent",[["n1",1,6],["n1",null,null]]]'
        ),
        WebhookObserved(
            source="main",
            node="n1",
            delivery="d",
            item=3,
            raw="u-0-0-5-0-0",
            received_at=AT,
            verdict="closed",
            rule="offline_of_open",
            status_before="online",
            status_after="offline",
            device_flag=0,
            online=False,
            conn_id=5,
            scope="n1",
            swept=(SessionId("n1", 1, 6), SessionId("n1", None, None)),
            emptied=True,
            suspect="sweep_of_recent",
        ),
    ),
    "delivery_received.v1": (
        (
            '{"delivery":"d2","node":"n1","received_at":1800000000000001,"digest":"ab","size":17,"items":2,"rejected":1,'
            '"repeats":"d1","first_received_at":1800000000000000,"highest_conn_id":9,"anew":true}'
        ),
        DeliveryReceived(
            delivery="d2",
            node="n1",
            received_at=AT,
            digest="ab",
            size=17,
            items=2,
            rejected=1,
            repeats="d1",
            first_received_at=AT - 1,
            highest_conn_id=9,
            anew=True,
        ),
    ),
    "item_rejected.v1": (
        '{"delivery":"d","node":"n1","item":0,"received_at":1800000000000001,"reason":"no string","raw":"1","size":1}',
        ItemRejected(delivery="d", node="n1", item=0, received_at=AT, reason="no string", raw="1", size=1),
    ),
    "body_rejected.v1": (
        (
            '{"delivery":"d","node":"n1","received_at":1800000000000001,"reason":"no array","raw_base64":"e30=",'
            '"size":2,"digest":"cd"}'
        ),
        BodyRejected(
            delivery="d", node="n1", received_at=AT, reason="no array", raw_base64="e30=", size=2, digest="cd"
        ),
    ),
    "configured.v1": (
        '{"at":1800000000000001,"instance":"i","policy":{"grace_seconds":5.0},"profile":"v2.2","nodes":{"n1":"v3"},"rules_version":1}',
        Configured(
            at=AT,
            instance="i",
            policy=Policy(grace_seconds=5.0),
            profile=Profile.V2_2,
            nodes={"n1": Profile.V3},
            rules_version=1,
        ),
    ),
    "service_started.v1": (
        '{"at":1800000000000001,"instance":"i","software_version":"0.1"}',
        ServiceStarted(at=AT, instance="i", software_version="0.1"),
    ),
    "service_stopped.v1": ('{"at":1800000000000001,"instance":"i"}', ServiceStopped(at=AT, instance="i")),
    "corrected.v1": (
        (
            '{"source":"main","node":"n1","received_at":1800000000000001,"rule":"poll_ghost","status_before":"online",'
            '"status_after":"offline","run":"r","poll":"p","asked_at":1800000000000000,"drift":"ghost",'
            '"attributed_to":"gap","agreed_at":1,"disagreed_at":2,"looks":2,"opened":[["",0,null,"n1",null]],'
            '"closed":[["",1,6]],"located":[[["",0,5],"n2",false]]}'
        ),
        Corrected(
            source="main",
            node="n1",
            received_at=AT,
            rule="poll_ghost",
            status_before="online",
            status_after="offline",
            run="r",
            poll="p",
            asked_at=AT - 1,
            drift="ghost",
            attributed_to="gap",
            agreed_at=1,
            disagreed_at=2,
            looks=2,
            opened=(OpenedSession("", 0, None, "n1"),),
            closed=(SessionId("", 1, 6),),
            located=(Located(SessionId("", 0, 5), "n2", seen=False),),
        ),
    ),
    "swept.v1": (
        (
            '{"source":"main","node":"n1","received_at":1800000000000001,"rule":"restart","status_before":"online",'
            '"status_after":"offline","ended":[["",0,5]],"run":"r","evidence":7,"earliest":1,"latest":2}'
        ),
        Swept(
            source="main",
            node="n1",
            received_at=AT,
            rule="restart",
            status_before="online",
            status_after="offline",
            ended=(SessionId("", 0, 5),),
            run="r",
            evidence=7,
            earliest=1,
            latest=2,
        ),
    ),
    "tier_set.v1": (
        ('{"received_at":1800000000000001,"tier":"vip","by":"ops","status_before":"unknown","status_after":"unknown"}'),
        TierSet(received_at=AT, tier="vip", by="ops", status_before="unknown", status_after="unknown"),
    ),
    "override_set.v1": (
        (
            '{"received_at":1800000000000001,"status":"offline","reason":"phone lost","by":"ops",'
            '"expires_at":1800000000000002,"status_before":"online","status_after":"online","until_evidence":true}'
        ),
        OverrideSet(
            received_at=AT,
            status="offline",
            reason="phone lost",
            by="ops",
            expires_at=AT + 1,
            status_before="online",
            status_after="online",
            until_evidence=True,
        ),
    ),
    "override_ended.v1": (
        (
            '{"received_at":1800000000000001,"why":"deleted","status":"offline","status_before":"online",'
            '"status_after":"online","by":"ops"}'
        ),
        OverrideEnded(
            received_at=AT, why="deleted", status="offline", status_before="online", status_after="online", by="ops"
        ),
    ),
    "poll_observed.v1": (
        (
            '{"poll":"p","run":"r","node":"n1","route":"POST /user/onlinestatus","asked_at":1800000000000000,'
            '"answered_at":1800000000000001,"head":7,"asked":2,"agreed":1,"findings":[["u","ghost","open",null,2,"gap"]],'
            '"rows":{"u":"0:2 1:1"}}'
        ),
        PollObserved(
            poll="p",
            run="r",
            node="n1",
            route="POST /user/onlinestatus",
            asked_at=AT - 1,
            answered_at=AT,
            head=7,
            asked=2,
            agreed=1,
            findings=(Finding("u", "ghost", "open", None, 2, "gap"),),
            rows={"u": "0:2 1:1"},
        ),
    ),
    "run_started.v1": (
        '{"run":"r","at":1800000000000001,"instance":"i","scope":"restart","node":"n1","users":3,"uids":["u"]}',
        RunStarted(run="r", at=AT, instance="i", scope="restart", node="n1", users=3, uids=("u",)),
    ),
    "run_ended.v1": (
        (
            '{"run":"r","at":1800000000000001,"started_at":1800000000000000,"scope":"rotation","outcome":"completed",'
            '"counts":{"polls":1,"looked":2},"node":"n1","failures":{"n1":"500"}}'
        ),
        RunEnded(
            run="r",
            at=AT,
            started_at=AT - 1,
            scope="rotation",
            outcome="completed",
            counts=RunCounts(polls=1, looked=2),
            node="n1",
            failures={"n1": "500"},
        ),
    ),
    "node_down.v1": (
        '{"node":"n1","at":1800000000000001,"since":1800000000000000,"reason":"ConnectError"}',
        NodeDown(node="n1", at=AT, since=AT - 1, reason="ConnectError"),
    ),
    "node_booted.v1": (
        ('{"node":"n1","at":1800000000000001,"earliest":1,"latest":2,"route":"/varz","node_id":1001,"first":true}'),
        NodeBooted(node="n1", at=AT, earliest=1, latest=2, route="/varz", node_id=1001, first=True),
    ),
    "node_settled.v1": (
        '{"node":"n1","at":1800000000000001,"booted":true}',
        NodeSettled(node="n1", at=AT, booted=True),
    ),
    "source_dark.v1": ('{"at":1800000000000001,"since":1}', SourceDark(at=AT, since=1)),
    "source_lit.v1": ('{"at":1800000000000001,"by":"poll"}', SourceLit(at=AT, by="poll")),
    "breaker_opened.v1": (
        '{"at":1800000000000001,"looked":100,"missing":30,"window_seconds":60.0,"until":1800000000000002}',
        BreakerOpened(at=AT, looked=100, missing=30, window_seconds=60.0, until=AT + 1),
    ),
    "breaker_closed.v1": ('{"at":1800000000000001}', BreakerClosed(at=AT)),
    "alert_began.v1": (
        (
            '{"alert":"a1","name":"node_down","severity":"critical","at":1800000000000001,"since":1800000000000000,'
            '"subject":"n1","figures":{"down_since_at":"2027-01-15T08:00:00.000000Z","failures":2,"share":0.5},'
            '"rests_on":[41,42]}'
        ),
        AlertBegan(
            alert="a1",
            name="node_down",
            severity="critical",
            at=AT,
            since=AT - 1,
            subject="n1",
            figures={"down_since_at": "2027-01-15T08:00:00.000000Z", "failures": 2, "share": 0.5},
            rests_on=(41, 42),
        ),
    ),
    "alert_acknowledged.v1": (
        '{"alert":"a1","name":"node_down","at":1800000000000001,"by":"oncall","subject":"n1"}',
        AlertAcknowledged(alert="a1", name="node_down", at=AT, by="oncall", subject="n1"),
    ),
    "alert_ended.v1": (
        '{"alert":"a1","name":"disk_low","at":1800000000000001,"since":1800000000000000,"figures":{"free_bytes":7}}',
        AlertEnded(alert="a1", name="disk_low", at=AT, since=AT - 1, figures={"free_bytes": 7}),
    ),
    "user_erased.v1": (
        (
            '{"at":1800000000000001,"by":"ops","reason":"asked","uid_hash":"ab","key_id":"cd","events":2,'
            '"positions":"BQI=","redacted":[[6,"ef"]]}'
        ),
        UserErased(
            at=AT,
            by="ops",
            reason="asked",
            uid_hash="ab",
            key_id="cd",
            events=2,
            positions="BQI=",
            redacted=(Redacted(6, "ef"),),
        ),
    ),
    "events_archived.v1": (
        '{"at":1800000000000001,"first":1,"before":1000000,"files":[["events-1.parquet",7,900,"ab"]]}',
        EventsArchived(at=AT, first=1, before=1_000_000, files=(ArchivedFile("events-1.parquet", 7, 900, "ab"),)),
    ),
    "presence_imported.v1": (
        (
            '{"received_at":1800000000000001,"status_before":"online","status_after":"online",'
            '"presence":["u",17,["online",1,["webhook",1,40]],null,[["main","",0,1,[[5,"n1",1,2,null]],[],null,null]],'
            "2,41,null,null,null]}"
        ),
        PresenceImported(
            received_at=AT,
            status_before="online",
            status_after="online",
            presence=Presence(
                "u",
                17,
                Flip("online", 1, Cause("webhook", 1, 40)),
                None,
                (Device("main", "", 0, 1, (Session(5, "n1", 1, 2),)),),
                2,
                41,
            ),
        ),
    ),
    "source_imported.v1": (
        (
            '{"version":7,"policy":{"grace_seconds":0.0,"reorder_seconds":2.0,"dedupe_seconds":60.0,'
            '"dark_seconds":900.0,"tier_vip_seconds":30.0,"tier_normal_seconds":300.0,"tier_cold_seconds":3600.0,'
            '"confirm_seconds":3.0,"confirmations":2,"breaker_share":0.2,"breaker_minimum":20,"breaker_seconds":60.0,'
            '"breaker_hold_seconds":60.0,"budget_calls":20.0,"budget_users":20000.0},"profile":"v2.2",'
            '"node_profiles":{"n1":"v3"},"nodes":{"n1":{"highest_conn_id":5,"last_webhook_at":1,"down_since":null,'
            '"boot":[1,2],"boot_position":3,"node_id":1001,"swept":true}},"recent":[["n1","ab","d",1]],'
            '"last_webhook_at":1,"dark_since":null,"open_runs":{"r":{"started_at":1,"scope":"manual","node":null,'
            '"uids":["u"]}},"breaker_until":null,"lost_node_at":null,"retired":{"n2":3},"rules_version":1,"clustered_until":null}'
        ),
        SourceImported(
            version=7,
            policy=Policy(),
            profile=Profile.V2_2,
            node_profiles={"n1": Profile.V3},
            nodes={"n1": NodeState(5, 1, None, (1, 2), 3, 1001)},
            recent=(Body("n1", "ab", "d", 1),),
            last_webhook_at=1,
            dark_since=None,
            open_runs={"r": OpenRun(1, "manual", None, ("u",))},
            breaker_until=None,
            lost_node_at=None,
            retired={"n2": 3},
            rules_version=1,
        ),
    ),
}
"""What lies in ledgers today: none of these texts may ever need another event to be read."""

OLDER: dict[str, tuple[str, str]] = {
    "webhook_observed.v1": (
        "webhook_observed.v2",
        (
            '{"source":"main","node":"n1","delivery":"d","item":3,"raw":"u-0-0-5-0-0","received_at":1800000000000001,'
            '"verdict":"closed","rule":"offline_of_open","status_before":"online","status_after":"offline",'
            '"device_flag":0,"online":false,"conn_id":5,"scope":"n1","swept":[["n1",1,6],["n1",null,null]],'
            '"emptied":true,"suspect":"sweep_of_recent"}'
        ),
    ),
}
"""How kinds were stored before, for ever: the kind of now, and the text of the same event as in `STORED`."""
