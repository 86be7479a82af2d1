BEGIN TRANSACTION;
CREATE TABLE annotations (
        annotation_id TEXT PRIMARY KEY,
        sequence INTEGER NOT NULL,
        file_path TEXT NOT NULL,
        line INTEGER NOT NULL,
        annotation TEXT NOT NULL,
        expert_id TEXT NOT NULL,
        created_us INTEGER NOT NULL
    );
INSERT INTO "annotations" VALUES('3c2ecae24151bb2fbb8e8a62a77b05b7',16,'README.md',1,'good','expert-1',1795471629970945);
CREATE TABLE blobs (
        hash TEXT PRIMARY KEY,
        size INTEGER NOT NULL,
        is_text INTEGER NOT NULL,
        encoding TEXT NOT NULL,
        data BLOB NOT NULL
    );
INSERT INTO "blobs" VALUES('9deb94158e91742ee59a098729128779da85eef76b28890b6c0cb64401537a29',8,1,'raw',X'232046697273740A');
INSERT INTO "blobs" VALUES('3fc6d83f998ea9ada8d80ae26e3dc47d6d2687b480c9033dd94ceb571d5a16e5',12,1,'raw',X'7072696E742827C3A927290A');
INSERT INTO "blobs" VALUES('797e649f79050c5aae111c0f55d82376a57d7b3a227af67be93c3158c2e1999f',9,1,'raw',X'23205365636F6E640A');
INSERT INTO "blobs" VALUES('2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881',1,1,'raw',X'78');
CREATE TABLE context_packages (
        id TEXT PRIMARY KEY,
        sequence INTEGER NOT NULL,
        created_us INTEGER NOT NULL,
        package TEXT NOT NULL
    );
INSERT INTO "context_packages" VALUES('28458a11bd87dfbffa5727c6999cdc13',12,1795471629954885,'{"manifest":{"id":"28458a11bd87dfbffa5727c6999cdc13","created_at":"2026-11-23T22:07:09.954885+00:00","sequence":12,"agent_id":"builder-1","tool_name":"Bash","decision":"escalate","risk_level":"high","contains":["manifest.json","files.json","context.json"]},"files":{},"context":{"request":{"tool_name":"Bash","tool_input":{"command":"npm publish"}},"metadata":{},"reason":"Publishing is reviewed; an expert looks at what leaves the machine.","rules_version":"0747b9513314","findings":[{"part":"npm publish","decision":"escalate","risk_level":"high","rule":"build.publish","reason":"Publishing is reviewed; an expert looks at what leaves the machine."}],"similar":[],"project":{"files":2,"sequence":12}}}');
INSERT INTO "context_packages" VALUES('802bff6ebd86e59ee7a4d860f1a079fc',19,1795471629987294,'{"manifest":{"id":"802bff6ebd86e59ee7a4d860f1a079fc","created_at":"2026-11-23T22:07:09.987294+00:00","sequence":19,"agent_id":"builder-1","tool_name":"Bash","decision":"escalate","risk_level":"high","contains":["manifest.json","files.json","context.json"]},"files":{},"context":{"request":{"tool_name":"Bash","tool_input":{"command":"npm publish --dry-run"}},"metadata":{},"reason":"Publishing is reviewed; an expert looks at what leaves the machine.","rules_version":"0747b9513314","findings":[{"part":"npm publish --dry-run","decision":"escalate","risk_level":"high","rule":"build.publish","reason":"Publishing is reviewed; an expert looks at what leaves the machine."}],"similar":[{"id":"28458a11bd87dfbffa5727c6999cdc13","agent_id":"builder-1","tool_input":{"command":"npm publish"},"reason":"Approved by operator-1: known."}],"project":{"files":2,"sequence":19}}}');
CREATE TABLE escalations (
        validation_id TEXT PRIMARY KEY,
        sequence INTEGER NOT NULL,
        created_us INTEGER NOT NULL,
        call_key TEXT NOT NULL,
        shape TEXT NOT NULL,
        agent_id TEXT NOT NULL,
        tool_name TEXT NOT NULL,
        tool_input TEXT NOT NULL,
        reason TEXT NOT NULL,
        rule TEXT NOT NULL,
        rules_version TEXT NOT NULL,
        risk INTEGER NOT NULL,
        stage TEXT NOT NULL,
        experts_until_us INTEGER NOT NULL,
        expires_us INTEGER NOT NULL,
        decision TEXT,
        tier TEXT,
        decided_by TEXT,
        confidence REAL,
        decided_us INTEGER
    );
INSERT INTO "escalations" VALUES('28458a11bd87dfbffa5727c6999cdc13',12,1795471629954885,'573aa7cb311db5c772e71e650595911aa08d1322556644d7298ac861415438e4:0747b9513314','573aa7cb311db5c772e71e650595911aa08d1322556644d7298ac861415438e4','builder-1','Bash','{"command":"npm publish"}','Approved by operator-1: known.','build.publish','0747b9513314',2,'decided',1795471659954885,1795471929954885,'approved','human','operator-1',1.0,1795471629957875);
INSERT INTO "escalations" VALUES('802bff6ebd86e59ee7a4d860f1a079fc',19,1795471629987294,'24c0558aa2331e611f309e9d119310f5640aed7f3db1a34fdd06f2a39db11f2d:0747b9513314','24c0558aa2331e611f309e9d119310f5640aed7f3db1a34fdd06f2a39db11f2d','builder-1','Bash','{"command":"npm publish --dry-run"}','Publishing is reviewed; an expert looks at what leaves the machine.','build.publish','0747b9513314',2,'experts',1795471659987294,1795471929987294,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE events (
        sequence_id INTEGER PRIMARY KEY,
        event_id TEXT NOT NULL UNIQUE,
        event_type TEXT NOT NULL,
        timestamp INTEGER NOT NULL,
        agent_id TEXT,
        aggregate_id TEXT,
        aggregate_version INTEGER,
        event_data TEXT NOT NULL,
        metadata TEXT,
        checksum TEXT,
        created_at INTEGER NOT NULL DEFAULT (unixepoch())
    );
INSERT INTO "events" VALUES(1,'1795471629895913_1_00014d12','agent_session_started',1795471629895913,'operator-1','operator-1',1,'{"event_id":"1795471629895913_1_00014d12","event_type":"agent_session_started","agent_id":"operator-1","data":{"session":"4f06fc7d","role":"operator"},"timestamp":"2026-11-23T22:07:09.895913+00:00","aggregate_id":"operator-1","aggregate_version":1,"metadata":{}}','{}','f92c05bfb5eb8477',1795471629);
INSERT INTO "events" VALUES(2,'1795471629908037_2_00014d12','agent_session_started',1795471629908037,'builder-1','builder-1',2,'{"event_id":"1795471629908037_2_00014d12","event_type":"agent_session_started","agent_id":"builder-1","data":{"session":"2466825d","role":"builder"},"timestamp":"2026-11-23T22:07:09.908037+00:00","aggregate_id":"builder-1","aggregate_version":2,"metadata":{}}','{}','192e9943c5ce59de',1795471629);
INSERT INTO "events" VALUES(3,'1795471629915295_3_00014d12','agent_session_started',1795471629915295,'expert-1','expert-1',3,'{"event_id":"1795471629915295_3_00014d12","event_type":"agent_session_started","agent_id":"expert-1","data":{"session":"e5702d5e","role":"expert"},"timestamp":"2026-11-23T22:07:09.915295+00:00","aggregate_id":"expert-1","aggregate_version":3,"metadata":{}}','{}','c5d6c6fe2f514d4c',1795471629);
INSERT INTO "events" VALUES(4,'1795471629935125_4_00014d12','file_created',1795471629935125,'builder-1','README.md',4,'{"event_id":"1795471629935125_4_00014d12","event_type":"file_created","agent_id":"builder-1","data":{"path":"README.md","kind":"file","executable":false,"size":8,"content_hash":"9deb94158e91742ee59a098729128779da85eef76b28890b6c0cb64401537a29","previous_hash":null,"mime_type":"application/octet-stream","encoding":"utf-8","content":null},"timestamp":"2026-11-23T22:07:09.935125+00:00","aggregate_id":"README.md","aggregate_version":4,"metadata":{}}','{}','0e5e92805d9e6f2e',1795471629);
INSERT INTO "events" VALUES(5,'1795471629939206_5_00014d12','file_created',1795471629939206,'builder-1','src/a.py',5,'{"event_id":"1795471629939206_5_00014d12","event_type":"file_created","agent_id":"builder-1","data":{"path":"src/a.py","kind":"file","executable":true,"size":12,"content_hash":"3fc6d83f998ea9ada8d80ae26e3dc47d6d2687b480c9033dd94ceb571d5a16e5","previous_hash":null,"mime_type":"text/x-python","encoding":"utf-8","content":null},"timestamp":"2026-11-23T22:07:09.939206+00:00","aggregate_id":"src/a.py","aggregate_version":5,"metadata":{}}','{}','4c993f00739ee1e8',1795471629);
INSERT INTO "events" VALUES(6,'1795471629942331_6_00014d12','file_modified',1795471629942331,'builder-1','README.md',6,'{"event_id":"1795471629942331_6_00014d12","event_type":"file_modified","agent_id":"builder-1","data":{"path":"README.md","kind":"file","executable":false,"size":9,"content_hash":"797e649f79050c5aae111c0f55d82376a57d7b3a227af67be93c3158c2e1999f","previous_hash":"9deb94158e91742ee59a098729128779da85eef76b28890b6c0cb64401537a29","mime_type":"application/octet-stream","encoding":"utf-8","content":null},"timestamp":"2026-11-23T22:07:09.942331+00:00","aggregate_id":"README.md","aggregate_version":6,"metadata":{}}','{}','79c4fa0760201e94',1795471629);
INSERT INTO "events" VALUES(7,'1795471629945408_7_00014d12','file_created',1795471629945408,'builder-1','gone.txt',7,'{"event_id":"1795471629945408_7_00014d12","event_type":"file_created","agent_id":"builder-1","data":{"path":"gone.txt","kind":"file","executable":false,"size":1,"content_hash":"2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881","previous_hash":null,"mime_type":"text/plain","encoding":"utf-8","content":null},"timestamp":"2026-11-23T22:07:09.945408+00:00","aggregate_id":"gone.txt","aggregate_version":7,"metadata":{}}','{}','36a3472c914339fa',1795471629);
INSERT INTO "events" VALUES(8,'1795471629948652_8_00014d12','file_deleted',1795471629948652,'operator-1','gone.txt',8,'{"event_id":"1795471629948652_8_00014d12","event_type":"file_deleted","agent_id":"operator-1","data":{"path":"gone.txt","kind":"file","executable":false,"size":1,"content_hash":null,"previous_hash":"2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881","mime_type":"text/plain","encoding":null,"content":null},"timestamp":"2026-11-23T22:07:09.948652+00:00","aggregate_id":"gone.txt","aggregate_version":8,"metadata":{}}','{}','96badd8fa96f22ac',1795471629);
INSERT INTO "events" VALUES(9,'1795471629951964_9_00014d12','validation_request_submitted',1795471629951964,'builder-1','f63151cc3faf1a5bd3983b4a4d831326',9,'{"event_id":"1795471629951964_9_00014d12","event_type":"validation_request_submitted","agent_id":"builder-1","data":{"validation_id":"f63151cc3faf1a5bd3983b4a4d831326","tool_name":"Bash","tool_input":{"command":"ls -la"}},"timestamp":"2026-11-23T22:07:09.951964+00:00","aggregate_id":"f63151cc3faf1a5bd3983b4a4d831326","aggregate_version":9,"metadata":{}}','{}','fccf8d1f6a32d9f3',1795471629);
INSERT INTO "events" VALUES(10,'1795471629951964_10_00014d12','validation_decision_made',1795471629951964,'builder-1','f63151cc3faf1a5bd3983b4a4d831326',10,'{"event_id":"1795471629951964_10_00014d12","event_type":"validation_decision_made","agent_id":"builder-1","data":{"validation_id":"f63151cc3faf1a5bd3983b4a4d831326","tool_name":"Bash","decision":"approved","reason":"It only reads files of the project and prints.","risk_level":"low","confidence":0.95,"rule":"files.list","rules_version":"0747b9513314","tier":"policy"},"timestamp":"2026-11-23T22:07:09.951964+00:00","aggregate_id":"f63151cc3faf1a5bd3983b4a4d831326","aggregate_version":10,"metadata":{}}','{}','c66b79b76a8eeec4',1795471629);
INSERT INTO "events" VALUES(11,'1795471629954885_11_00014d12','validation_request_submitted',1795471629954885,'builder-1','28458a11bd87dfbffa5727c6999cdc13',11,'{"event_id":"1795471629954885_11_00014d12","event_type":"validation_request_submitted","agent_id":"builder-1","data":{"validation_id":"28458a11bd87dfbffa5727c6999cdc13","tool_name":"Bash","tool_input":{"command":"npm publish"}},"timestamp":"2026-11-23T22:07:09.954885+00:00","aggregate_id":"28458a11bd87dfbffa5727c6999cdc13","aggregate_version":11,"metadata":{}}','{}','8d43fc39889ba7e5',1795471629);
INSERT INTO "events" VALUES(12,'1795471629954885_12_00014d12','validation_decision_made',1795471629954885,'builder-1','28458a11bd87dfbffa5727c6999cdc13',12,'{"event_id":"1795471629954885_12_00014d12","event_type":"validation_decision_made","agent_id":"builder-1","data":{"validation_id":"28458a11bd87dfbffa5727c6999cdc13","tool_name":"Bash","decision":"escalate","reason":"Publishing is reviewed; an expert looks at what leaves the machine.","risk_level":"high","confidence":0.3,"rule":"build.publish","rules_version":"0747b9513314","tier":"review"},"timestamp":"2026-11-23T22:07:09.954885+00:00","aggregate_id":"28458a11bd87dfbffa5727c6999cdc13","aggregate_version":12,"metadata":{}}','{}','8d098788873dabba',1795471629);
INSERT INTO "events" VALUES(13,'1795471629954885_13_00014d12','validation_escalated_to_expert',1795471629954885,'builder-1','28458a11bd87dfbffa5727c6999cdc13',13,'{"event_id":"1795471629954885_13_00014d12","event_type":"validation_escalated_to_expert","agent_id":"builder-1","data":{"validation_id":"28458a11bd87dfbffa5727c6999cdc13","reason":"Publishing is reviewed; an expert looks at what leaves the machine.","context_package":"28458a11bd87dfbffa5727c6999cdc13"},"timestamp":"2026-11-23T22:07:09.954885+00:00","aggregate_id":"28458a11bd87dfbffa5727c6999cdc13","aggregate_version":13,"metadata":{}}','{}','421f6051af29fe5e',1795471629);
INSERT INTO "events" VALUES(14,'1795471629957875_14_00014d12','validation_decision_made',1795471629957875,'builder-1','28458a11bd87dfbffa5727c6999cdc13',14,'{"event_id":"1795471629957875_14_00014d12","event_type":"validation_decision_made","agent_id":"builder-1","data":{"validation_id":"28458a11bd87dfbffa5727c6999cdc13","tool_name":"Bash","decision":"approved","reason":"Approved by operator-1: known.","risk_level":"high","confidence":1.0,"rule":"build.publish","rules_version":"0747b9513314","tier":"human","decided_by":"operator-1","decided_at":"2026-11-23T22:07:09.957875+00:00"},"timestamp":"2026-11-23T22:07:09.957875+00:00","aggregate_id":"28458a11bd87dfbffa5727c6999cdc13","aggregate_version":14,"metadata":{}}','{}','acc4849a5f32c243',1795471629);
INSERT INTO "events" VALUES(15,'1795471629960597_15_00014d12','agent_registered',1795471629960597,'expert-1','expert-1',15,'{"event_id":"1795471629960597_15_00014d12","event_type":"agent_registered","agent_id":"expert-1","data":{"agent_type":"security","capabilities":["security_audit"]},"timestamp":"2026-11-23T22:07:09.960597+00:00","aggregate_id":"expert-1","aggregate_version":15,"metadata":{}}','{}','489da939408f318a',1795471629);
INSERT INTO "events" VALUES(16,'1795471629970945_16_00014d12','shadow_annotation_created',1795471629970945,'expert-1','README.md',16,'{"event_id":"1795471629970945_16_00014d12","event_type":"shadow_annotation_created","agent_id":"expert-1","data":{"annotation_id":"3c2ecae24151bb2fbb8e8a62a77b05b7","file_path":"README.md","line":1,"annotation":"good","expert_id":"expert-1"},"timestamp":"2026-11-23T22:07:09.970945+00:00","aggregate_id":"README.md","aggregate_version":16,"metadata":{}}','{}','fcf58f263d9f33cd',1795471629);
INSERT INTO "events" VALUES(17,'1795471629976921_17_00014d12','custom',1795471629976921,'builder-1',NULL,17,'{"event_id":"1795471629976921_17_00014d12","event_type":"custom","agent_id":"builder-1","data":{"text":"it''s","none":null,"yes":true,"deep":[1,2.5,{"ü":"x"}]},"timestamp":"2026-11-23T22:07:09.976921+00:00","aggregate_id":null,"aggregate_version":17,"metadata":{"correlation_id":"c-1"}}','{"correlation_id":"c-1"}','f5df1efa843f3629',1795471629);
INSERT INTO "events" VALUES(18,'1795471629987294_18_00014d12','validation_request_submitted',1795471629987294,'builder-1','802bff6ebd86e59ee7a4d860f1a079fc',18,'{"event_id":"1795471629987294_18_00014d12","event_type":"validation_request_submitted","agent_id":"builder-1","data":{"validation_id":"802bff6ebd86e59ee7a4d860f1a079fc","tool_name":"Bash","tool_input":{"command":"npm publish --dry-run"}},"timestamp":"2026-11-23T22:07:09.987294+00:00","aggregate_id":"802bff6ebd86e59ee7a4d860f1a079fc","aggregate_version":18,"metadata":{}}','{}','1d8a2f240a49d25b',1795471629);
INSERT INTO "events" VALUES(19,'1795471629987294_19_00014d12','validation_decision_made',1795471629987294,'builder-1','802bff6ebd86e59ee7a4d860f1a079fc',19,'{"event_id":"1795471629987294_19_00014d12","event_type":"validation_decision_made","agent_id":"builder-1","data":{"validation_id":"802bff6ebd86e59ee7a4d860f1a079fc","tool_name":"Bash","decision":"escalate","reason":"Publishing is reviewed; an expert looks at what leaves the machine.","risk_level":"high","confidence":0.3,"rule":"build.publish","rules_version":"0747b9513314","tier":"review"},"timestamp":"2026-11-23T22:07:09.987294+00:00","aggregate_id":"802bff6ebd86e59ee7a4d860f1a079fc","aggregate_version":19,"metadata":{}}','{}','0ca2e7fa4037d9a2',1795471629);
INSERT INTO "events" VALUES(20,'1795471629987294_20_00014d12','validation_escalated_to_expert',1795471629987294,'builder-1','802bff6ebd86e59ee7a4d860f1a079fc',20,'{"event_id":"1795471629987294_20_00014d12","event_type":"validation_escalated_to_expert","agent_id":"builder-1","data":{"validation_id":"802bff6ebd86e59ee7a4d860f1a079fc","reason":"Publishing is reviewed; an expert looks at what leaves the machine.","context_package":"802bff6ebd86e59ee7a4d860f1a079fc"},"timestamp":"2026-11-23T22:07:09.987294+00:00","aggregate_id":"802bff6ebd86e59ee7a4d860f1a079fc","aggregate_version":20,"metadata":{}}','{}','0b7f175db800295b',1795471629);
INSERT INTO "events" VALUES(21,'1795471629987294_21_00014d12','expert_agent_summoned',1795471629987294,'expert-1','802bff6ebd86e59ee7a4d860f1a079fc',21,'{"event_id":"1795471629987294_21_00014d12","event_type":"expert_agent_summoned","agent_id":"expert-1","data":{"kind":"validation","validation_id":"802bff6ebd86e59ee7a4d860f1a079fc","expert_id":"expert-1","agent_type":"security","requested_by":"builder-1","deadline":"2026-11-23T22:07:39.987294+00:00"},"timestamp":"2026-11-23T22:07:09.987294+00:00","aggregate_id":"802bff6ebd86e59ee7a4d860f1a079fc","aggregate_version":21,"metadata":{}}','{}','4926971c0c507db4',1795471629);
CREATE TABLE expert_registry (
        agent_id TEXT PRIMARY KEY,
        agent_type TEXT NOT NULL,
        capabilities TEXT NOT NULL,
        metadata TEXT NOT NULL,
        registered_us INTEGER NOT NULL,
        last_seen_us INTEGER NOT NULL,
        session_id TEXT NOT NULL
    );
INSERT INTO "expert_registry" VALUES('expert-1','security','["security_audit"]','{}',1795471629960597,1795471629960597,'e5702d5e8dd30ab7e6b27b1b5952fa67');
CREATE TABLE file_versions (
        sequence INTEGER PRIMARY KEY,
        path TEXT NOT NULL,
        operation TEXT NOT NULL,
        kind TEXT NOT NULL,
        executable INTEGER NOT NULL,
        size INTEGER NOT NULL,
        content_hash TEXT,
        mtime_us INTEGER NOT NULL,
        agent_id TEXT NOT NULL
    );
INSERT INTO "file_versions" VALUES(4,'README.md','create','file',0,8,'9deb94158e91742ee59a098729128779da85eef76b28890b6c0cb64401537a29',1795471629935125,'builder-1');
INSERT INTO "file_versions" VALUES(5,'src/a.py','create','file',1,12,'3fc6d83f998ea9ada8d80ae26e3dc47d6d2687b480c9033dd94ceb571d5a16e5',1795471629939206,'builder-1');
INSERT INTO "file_versions" VALUES(6,'README.md','update','file',0,9,'797e649f79050c5aae111c0f55d82376a57d7b3a227af67be93c3158c2e1999f',1795471629942331,'builder-1');
INSERT INTO "file_versions" VALUES(7,'gone.txt','create','file',0,1,'2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881',1795471629945408,'builder-1');
INSERT INTO "file_versions" VALUES(8,'gone.txt','delete','file',0,0,NULL,1795471629948652,'operator-1');
CREATE TABLE files (
        path TEXT PRIMARY KEY,
        kind TEXT NOT NULL,
        executable INTEGER NOT NULL,
        size INTEGER NOT NULL,
        content_hash TEXT NOT NULL,
        mtime_us INTEGER NOT NULL,
        sequence INTEGER NOT NULL
    ) WITHOUT ROWID;
INSERT INTO "files" VALUES('README.md','file',0,9,'797e649f79050c5aae111c0f55d82376a57d7b3a227af67be93c3158c2e1999f',1795471629942331,6);
INSERT INTO "files" VALUES('src/a.py','file',1,12,'3fc6d83f998ea9ada8d80ae26e3dc47d6d2687b480c9033dd94ceb571d5a16e5',1795471629939206,5);
CREATE TABLE sessions (
        session_id TEXT PRIMARY KEY,
        agent_id TEXT NOT NULL,
        role TEXT NOT NULL,
        created_us INTEGER NOT NULL,
        last_seen_us INTEGER NOT NULL,
        ip_address TEXT NOT NULL,
        user_agent TEXT NOT NULL,
        metadata TEXT NOT NULL
    );
INSERT INTO "sessions" VALUES('4f06fc7d4bc19e999202fae17d8da320','operator-1','operator',1795471629895913,1795471629957490,'','','{}');
INSERT INTO "sessions" VALUES('2466825ddab2fdaf94f175bb762c6f91','builder-1','builder',1795471629908037,1795471629986216,'','','{}');
INSERT INTO "sessions" VALUES('e5702d5e8dd30ab7e6b27b1b5952fa67','expert-1','expert',1795471629915295,1795471629969385,'','','{}');
CREATE TABLE standing_approvals (
        approval_id TEXT PRIMARY KEY,
        shape TEXT NOT NULL,
        agent_id TEXT,
        status TEXT NOT NULL,
        uses_left INTEGER,
        decided_by TEXT NOT NULL,
        reason TEXT NOT NULL,
        validation_id TEXT NOT NULL,
        created_us INTEGER NOT NULL,
        expires_us INTEGER NOT NULL
    );
INSERT INTO "standing_approvals" VALUES('5fdb7ed03fed8184','573aa7cb311db5c772e71e650595911aa08d1322556644d7298ac861415438e4',NULL,'approved',NULL,'operator-1','known','28458a11bd87dfbffa5727c6999cdc13',1795471629957875,1798063629957875);
CREATE TABLE store_metadata (
        key TEXT PRIMARY KEY,
        value TEXT NOT NULL,
        updated_at INTEGER NOT NULL DEFAULT (unixepoch())
    );
INSERT INTO "store_metadata" VALUES('schema_version','1',1795471629);
CREATE TABLE work_items (
        work_id TEXT PRIMARY KEY,
        kind TEXT NOT NULL,
        validation_id TEXT,
        expert_id TEXT NOT NULL,
        agent_type TEXT NOT NULL,
        requested_by TEXT NOT NULL,
        payload TEXT NOT NULL,
        created_us INTEGER NOT NULL,
        deadline_us INTEGER NOT NULL,
        fetched_us INTEGER,
        fetched_session TEXT,
        answered_us INTEGER,
        answer TEXT,
        confidence REAL,
        reasoning TEXT
    );
INSERT INTO "work_items" VALUES('5c54425386882ce9ad1e04c4fffdeb46','validation','802bff6ebd86e59ee7a4d860f1a079fc','expert-1','security','builder-1','{"tool_name":"Bash","tool_input":{"command":"npm publish --dry-run"},"reason":"Publishing is reviewed; an expert looks at what leaves the machine.","risk_level":"high"}',1795471629987294,1795471659987294,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE INDEX idx_events_timestamp ON events(timestamp);
CREATE INDEX idx_events_type ON events(event_type);
CREATE INDEX idx_events_agent ON events(agent_id);
CREATE INDEX idx_events_aggregate ON events(aggregate_id, aggregate_version);
CREATE INDEX idx_events_type_timestamp ON events(event_type, timestamp);
CREATE INDEX idx_events_agent_timestamp ON events(agent_id, timestamp);
CREATE INDEX idx_file_versions_path ON file_versions(path, sequence);
CREATE INDEX idx_annotations_path ON annotations(file_path, sequence);
CREATE INDEX idx_sessions_agent ON sessions(agent_id, role, created_us);
CREATE INDEX idx_escalations_sequence ON escalations(sequence);
CREATE INDEX idx_escalations_call ON escalations(call_key, stage);
CREATE INDEX idx_escalations_stage ON escalations(stage, sequence);
CREATE INDEX idx_work_items_expert ON work_items(expert_id, answered_us, created_us);
CREATE INDEX idx_work_items_validation ON work_items(validation_id);
CREATE INDEX idx_standing_approvals_shape ON standing_approvals(shape, expires_us);
CREATE INDEX idx_context_packages_sequence ON context_packages(sequence);
COMMIT;
