# The daemon as an ECS service, on Fargate or on EC2, with all that it needs: docs/deploy.md tells how.
# The same as ../cloudformation.yml; a test holds the two together.

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  partition   = data.aws_partition.current.partition
  account     = data.aws_caller_identity.current.account_id
  region      = data.aws_region.current.name
  fargate     = var.launch_type == "FARGATE"
  fifo        = endswith(var.queue_name, ".fifo")
  lease_table = var.lease_table_name == "" ? "${var.table_name}-leases" : var.lease_table_name
  topics      = var.alarm_topic_arn == "" ? [] : [var.alarm_topic_arn]

  dynamodb = "arn:${local.partition}:dynamodb:${local.region}:${local.account}"
  sqs      = "arn:${local.partition}:sqs:${local.region}:${local.account}"

  environment = merge(
    {
      AWS_REGION                   = local.region
      POLLER_TABLE                 = var.table_name
      POLLER_QUEUE                 = var.queue_name
      POLLER_DEAD_LETTER_QUEUE     = var.dead_letter_queue_name
      POLLER_LEASE_TABLE           = local.lease_table
      POLLER_LEASE__CREATE         = "false"
      POLLER_START_POSITION        = var.start_position
      POLLER_LOG_LEVEL             = var.log_level
      POLLER_LOG_FORMAT            = "json"
      POLLER_LOG__EMBEDDED_METRICS = tostring(var.embedded_metrics)
    },
    var.filter == "" ? {} : { POLLER_FILTER = var.filter },
    var.dead_letter_bucket == "" ? {} : { POLLER_ROUTE__DEAD_LETTER_BUCKET = var.dead_letter_bucket },
    var.settings,
  )
}

# --- tables and queues --------------------------------------------------------------------------------------------------

resource "aws_dynamodb_table" "table" {
  count            = var.create_table ? 1 : 0
  name             = var.table_name
  billing_mode     = "PAY_PER_REQUEST"
  hash_key         = var.table_key
  stream_enabled   = true
  stream_view_type = var.stream_view_type

  attribute {
    name = var.table_key
    type = "S"
  }

  point_in_time_recovery {
    enabled = true
  }

  server_side_encryption {
    enabled = true
  }

  lifecycle {
    prevent_destroy = true
  }
}

# Who reads which shard, and how far. Without it everything is read again from the trim horizon: it is kept.
resource "aws_dynamodb_table" "leases" {
  count        = var.lease_table_name == "" ? 1 : 0
  name         = local.lease_table
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "leaseKey"

  attribute {
    name = "leaseKey"
    type = "S"
  }

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_sqs_queue" "queue" {
  count                   = var.create_queues ? 1 : 0
  name                    = var.queue_name
  fifo_queue              = local.fifo ? true : null
  sqs_managed_sse_enabled = true

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead_letters[0].arn
    maxReceiveCount     = 5
  })

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_sqs_queue" "dead_letters" {
  count                     = var.create_queues ? 1 : 0
  name                      = var.dead_letter_queue_name
  fifo_queue                = local.fifo ? true : null
  sqs_managed_sse_enabled   = true
  message_retention_seconds = 1209600

  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = ["${local.sqs}:${var.queue_name}"]
  })

  lifecycle {
    prevent_destroy = true
  }
}

# --- what the daemon may do, and nothing more ---------------------------------------------------------------------------

data "aws_iam_policy_document" "tasks" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ecs-tasks.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account]
    }
  }
}

data "aws_iam_policy_document" "poller" {
  statement {
    sid       = "Table"
    actions   = ["dynamodb:DescribeTable"]
    resources = ["${local.dynamodb}:table/${var.table_name}"]
  }

  statement {
    sid = "Stream"
    actions = [
      "dynamodb:DescribeStream",
      "dynamodb:GetRecords",
      "dynamodb:GetShardIterator",
      "dynamodb:ListStreams",
    ]
    resources = ["${local.dynamodb}:table/${var.table_name}/stream/*"]
  }

  statement {
    sid = "Leases"
    actions = [
      "dynamodb:DeleteItem",
      "dynamodb:DescribeTable",
      "dynamodb:GetItem",
      "dynamodb:PutItem",
      "dynamodb:Scan",
      "dynamodb:UpdateItem",
    ]
    resources = ["${local.dynamodb}:table/${local.lease_table}"]
  }

  statement {
    sid = "Queues"
    actions = [
      "sqs:GetQueueAttributes",
      "sqs:GetQueueUrl",
      "sqs:SendMessage",
    ]
    resources = [
      "${local.sqs}:${var.queue_name}",
      "${local.sqs}:${var.dead_letter_queue_name}",
    ]
  }

  dynamic "statement" {
    for_each = var.dead_letter_bucket == "" ? [] : [var.dead_letter_bucket]

    content {
      sid       = "LargeLetters"
      actions   = ["s3:PutObject"]
      resources = ["arn:${local.partition}:s3:::${statement.value}/${var.table_name}/default/*"]
    }
  }

  dynamic "statement" {
    for_each = var.queue_key_arn == "" ? [] : [var.queue_key_arn]

    content {
      sid       = "Keys"
      actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
      resources = [statement.value]
    }
  }
}

resource "aws_iam_role" "task" {
  name_prefix        = "${var.name}-task-"
  assume_role_policy = data.aws_iam_policy_document.tasks.json
}

resource "aws_iam_role_policy" "task" {
  name   = "poller"
  role   = aws_iam_role.task.id
  policy = data.aws_iam_policy_document.poller.json
}

# What ECS needs to start it: the image and the log. The daemon itself never has this role.
resource "aws_iam_role" "execution" {
  name_prefix        = "${var.name}-execution-"
  assume_role_policy = data.aws_iam_policy_document.tasks.json
}

resource "aws_iam_role_policy_attachment" "execution" {
  role       = aws_iam_role.execution.name
  policy_arn = "arn:${local.partition}:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"
}

# --- the workers --------------------------------------------------------------------------------------------------------

resource "aws_cloudwatch_log_group" "poller" {
  name              = "/poller/${var.table_name}"
  retention_in_days = var.log_retention_days

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_ecs_task_definition" "poller" {
  family                   = var.name
  requires_compatibilities = [var.launch_type]
  network_mode             = "awsvpc"
  cpu                      = var.cpu
  memory                   = var.memory
  task_role_arn            = aws_iam_role.task.arn
  execution_role_arn       = aws_iam_role.execution.arn

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.architecture
  }

  container_definitions = jsonencode([
    merge(
      {
        name                   = "poller"
        image                  = var.image
        essential              = true
        command                = ["run"]
        user                   = "10001:10001"
        readonlyRootFilesystem = true
        privileged             = false
        linuxParameters        = { capabilities = { drop = ["ALL"] } }
        # SIGTERM; it promises to be gone within 10 s.
        stopTimeout = 30
        # ECS does not look at the image's own. Liveness: a queue that is down is no reason to restart anybody.
        healthCheck = {
          command     = ["CMD", "poller", "healthcheck", "--live"]
          interval    = 30
          timeout     = 5
          retries     = 3
          startPeriod = 10
        }
        portMappings = [{ containerPort = 9464, protocol = "tcp", name = "metrics" }]
        environment  = [for name in sort(keys(local.environment)) : { name = name, value = local.environment[name] }]
        logConfiguration = {
          logDriver = "awslogs"
          options = {
            awslogs-group         = aws_cloudwatch_log_group.poller.name
            awslogs-region        = local.region
            awslogs-stream-prefix = "poller"
            mode                  = "non-blocking"
            max-buffer-size       = "4m"
          }
        }
        # By these labels the CloudWatch agent finds whom to ask for metrics.
        dockerLabels = {
          PROMETHEUS_EXPORTER_JOB_NAME = "poller"
          PROMETHEUS_EXPORTER_PORT     = "9464"
          PROMETHEUS_EXPORTER_PATH     = "/metrics"
        }
      },
      # Fargate knows no such options, and lets nobody gain privileges anyway.
      local.fargate ? {} : { dockerSecurityOptions = ["no-new-privileges"] },
    ),
  ])
}

resource "aws_security_group" "poller" {
  name_prefix = "${var.name}-"
  description = "Workers of the poller - nobody comes in but who scrapes metrics"
  vpc_id      = var.vpc_id

  dynamic "ingress" {
    for_each = var.scraper_security_group == "" ? [] : [var.scraper_security_group]

    content {
      description     = "Metrics and health, for Prometheus"
      protocol        = "tcp"
      from_port       = 9464
      to_port         = 9464
      security_groups = [ingress.value]
    }
  }

  egress {
    description = "The endpoints of AWS"
    protocol    = "tcp"
    from_port   = 443
    to_port     = 443
    cidr_blocks = ["0.0.0.0/0"]
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_service_discovery_service" "poller" {
  count = var.namespace_id == "" ? 0 : 1
  name  = var.discovery_name

  dns_config {
    namespace_id   = var.namespace_id
    routing_policy = "MULTIVALUE"

    dns_records {
      type = "A"
      ttl  = 15
    }
  }
}

resource "aws_ecs_service" "poller" {
  name            = var.name
  cluster         = var.cluster
  launch_type     = var.launch_type
  task_definition = aws_ecs_task_definition.poller.arn
  desired_count   = var.workers
  propagate_tags  = "SERVICE"

  # New workers first: shards are handed over to them, and nothing is sent twice.
  deployment_minimum_healthy_percent = 100
  deployment_maximum_percent         = 200
  enable_execute_command             = false

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  network_configuration {
    subnets          = var.subnets
    security_groups  = [aws_security_group.poller.id]
    assign_public_ip = local.fargate ? var.assign_public_ip : false
  }

  dynamic "service_registries" {
    for_each = aws_service_discovery_service.poller

    content {
      registry_arn = service_registries.value.arn
    }
  }

  # A worker that starts before one of these is there, or outlives its rights, ends at once.
  depends_on = [
    aws_dynamodb_table.table,
    aws_dynamodb_table.leases,
    aws_sqs_queue.queue,
    aws_sqs_queue.dead_letters,
    aws_iam_role_policy.task,
    aws_iam_role_policy_attachment.execution,
  ]
}

# --- alarms -------------------------------------------------------------------------------------------------------------

resource "aws_cloudwatch_log_metric_filter" "data_lost" {
  name           = "${var.name}-data-lost"
  log_group_name = aws_cloudwatch_log_group.poller.name
  pattern        = "{ $.event = \"data_lost\" }"

  metric_transformation {
    namespace     = "PollerLog"
    name          = "DataLost-${var.table_name}"
    value         = "1"
    default_value = "0"
  }
}

resource "aws_cloudwatch_log_metric_filter" "errors" {
  name           = "${var.name}-errors"
  log_group_name = aws_cloudwatch_log_group.poller.name
  pattern        = "{ $.level = \"error\" }"

  metric_transformation {
    namespace     = "PollerLog"
    name          = "Errors-${var.table_name}"
    value         = "1"
    default_value = "0"
  }
}

resource "aws_cloudwatch_metric_alarm" "data_lost" {
  alarm_name          = "${var.name}-data-lost"
  alarm_description   = "Records were trimmed from the stream before they were read"
  namespace           = "PollerLog"
  metric_name         = "DataLost-${var.table_name}"
  statistic           = "Sum"
  period              = 60
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.topics
}

resource "aws_cloudwatch_metric_alarm" "errors" {
  alarm_name          = "${var.name}-errors"
  alarm_description   = "The poller logs errors; each says what does not work and what to do about it"
  namespace           = "PollerLog"
  metric_name         = "Errors-${var.table_name}"
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.topics
  ok_actions          = local.topics
}

# Every worker renews its leases every few seconds: nothing written means that nobody reads.
resource "aws_cloudwatch_metric_alarm" "nobody_reads" {
  alarm_name          = "${var.name}-nobody-reads"
  alarm_description   = "For five minutes no worker has written to the lease table"
  namespace           = "AWS/DynamoDB"
  metric_name         = "ConsumedWriteCapacityUnits"
  dimensions          = { TableName = local.lease_table }
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "LessThanThreshold"
  threshold           = 1
  treat_missing_data  = "breaching"
  alarm_actions       = local.topics
  ok_actions          = local.topics
}

resource "aws_cloudwatch_metric_alarm" "dead_letters" {
  alarm_name          = "${var.name}-dead-letters"
  alarm_description   = "Something could not be delivered, or its consumers failed on it"
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateNumberOfMessagesVisible"
  dimensions          = { QueueName = var.dead_letter_queue_name }
  statistic           = "Maximum"
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.topics
  ok_actions          = local.topics
}

resource "aws_cloudwatch_metric_alarm" "consumers_behind" {
  alarm_name          = "${var.name}-consumers-behind"
  alarm_description   = "Messages lie in the queue, delivered and not worked off"
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateAgeOfOldestMessage"
  dimensions          = { QueueName = var.queue_name }
  statistic           = "Maximum"
  period              = 300
  evaluation_periods  = 2
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.behind_seconds
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.topics
  ok_actions          = local.topics
}
