-- What a state follows from: pieces of message_states (results.sql) and roll (retention.sql), so that a run reads the same
-- before and after its messages are rolled. o = an outcome, r = a receipt, h = the habit of its lane (receipt_habit),
-- a = a segment with its answer, s = a segment with its state, n = the run.

-- piece: answer
-- The best that the outcomes of a segment say: 0 accepted, 1 rejected, 2 refused by us, 3 in doubt. A late answer overrules doubt.
min(CASE WHEN o.status = 0 THEN 0 WHEN o.status > 0 OR o.status = -17 THEN 1 WHEN o.status < -1 THEN 2 ELSE 3 END)

-- piece: most_telling
-- Order of the receipts of a segment: final before interim, the first final one before later ones; a delivery before all
-- where the carrier's settings say so, and UNKNOWN (7) is an end where they do.
(r.state = 2 AND h.delivered_wins IS TRUE) DESC,
(r.state IN (2, 3, 4, 5, 8, 9) OR (r.state = 7 AND h.unknown_is_final IS TRUE)) DESC, r.at

-- piece: state_of_segment
-- Its receipt's; without a final one when the deadline has passed, no_receipt; without any, that of its response. $3 = now.
-- Numbered as message_states names them; NULL: not sent, for another part was rejected, and that one tells.
CASE
    WHEN a.is_abandoned THEN NULL
    WHEN r.state = 2 THEN 0
    WHEN r.is_unknown THEN 4
    WHEN r.state = 3 THEN 5
    WHEN r.state IN (4, 5, 9) THEN 6
    WHEN r.state = 8 THEN 7
    WHEN a.answer = 0 AND a.accepted_at + make_interval(secs => h.deadline_s) <= $3::timestamptz THEN 3
    WHEN r.state IS NOT NULL THEN 1
    WHEN a.answer = 0 THEN 1
    WHEN a.answer = 3 THEN 2
    WHEN a.answer = 1 THEN 8
    ELSE 9
END

-- piece: state_of_message
-- From its segments', by the run's receipt_policy (gateway.message.ReceiptPolicy).
CASE n.receipt_policy
    WHEN 'all' THEN coalesce(max(s.worst) FILTER (WHERE s.worst IN (1, 2)), max(s.worst))
    WHEN 'any' THEN CASE WHEN min(s.worst) = 0 THEN 0
                         ELSE coalesce(max(s.worst) FILTER (WHERE s.worst IN (1, 2)), min(s.worst)) END
    WHEN 'last' THEN coalesce((array_agg(s.worst ORDER BY s.segment DESC, s.worst DESC))[1], 8)
    ELSE coalesce(max(s.worst), 8)
END

-- piece: is_begun
-- Whether a message of which a part was rejected is partial: other parts were taken.
n.receipt_policy IN ('all', 'worst') AND bool_or(s.worst IN (0, 1, 3, 4, 5, 6, 7))

-- piece: whole_state
-- The state of a message, partial included.
CASE WHEN worst = 8 AND is_begun THEN 10 ELSE worst END
