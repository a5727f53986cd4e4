"""What each role may do, by resource: held to the template and to what the functions do."""

from __future__ import annotations

MAY: dict[str, dict[str, set[str]]] = {
    "BackfillRole": {
        "BackfillLogGroup": {"logs:CreateLogStream", "logs:PutLogEvents"},
        "Secret": {"secretsmanager:GetSecretValue"},
    },
    "CollectorRole": {
        "CollectorLogGroup": {"logs:CreateLogStream", "logs:PutLogEvents"},
        "Secret": {"secretsmanager:GetSecretValue"},
        "Spool": {"sqs:GetQueueAttributes", "sqs:SendMessage"},
        # a check says how many wait
        "DeadLetterQueue": {"sqs:GetQueueAttributes", "sqs:GetQueueUrl", "sqs:SendMessage"},
    },
    "RedriverRole": {
        "RedriverLogGroup": {"logs:CreateLogStream", "logs:PutLogEvents"},
        "Secret": {"secretsmanager:GetSecretValue"},
        "Spool": {
            "sqs:ChangeMessageVisibility",
            "sqs:DeleteMessage",
            "sqs:GetQueueAttributes",
            "sqs:ReceiveMessage",
            "sqs:SendMessage",
        },
        "DeadLetterQueue": {"sqs:GetQueueUrl", "sqs:SendMessage"},
    },
    "ScheduleRole": {"CollectorFunction": {"lambda:InvokeFunction"}},
}
