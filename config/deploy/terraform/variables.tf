# The same as the parameters of ../cloudformation.yml, under the names that are usual here.

variable "name" {
  description = "Names the service, its roles and its alarms."
  type        = string
  default     = "poller"
}

variable "image" {
  description = "The image, best by its digest."
  type        = string
}

variable "table_name" {
  description = "The table whose stream is read."
  type        = string
}

variable "create_table" {
  description = "Makes the table, with a stream; false: it is there."
  type        = bool
  default     = false
}

variable "table_key" {
  description = "The hash key (a string) of a table that is made."
  type        = string
  default     = "analysisRequestId"
}

variable "stream_view_type" {
  description = "What the stream of a table that is made holds; route.changed needs NEW_AND_OLD_IMAGES."
  type        = string
  default     = "NEW_IMAGE"
}

variable "lease_table_name" {
  description = "A lease table that is there; empty: one is made, the table's name with -leases."
  type        = string
  default     = ""
}

variable "queue_name" {
  description = "The queue; a FIFO queue's name ends in .fifo."
  type        = string
}

variable "dead_letter_queue_name" {
  description = "For records that cannot be delivered, and for what the queue's consumers fail on; of the same type."
  type        = string
}

variable "create_queues" {
  description = "Makes both queues; false: they are there."
  type        = bool
  default     = true
}

variable "queue_key_arn" {
  description = "The KMS key of queues that are there and encrypted with a key of the account; empty: they are not."
  type        = string
  default     = ""
}

variable "dead_letter_bucket" {
  description = "A bucket for dead letters that fit in no queue; empty: such letters hold keys and position."
  type        = string
  default     = ""
}

variable "filter" {
  description = "An event pattern (JSON); empty: the shipped one, MODIFY to phase FILE_UPLOAD_COMPLETE."
  type        = string
  default     = ""
}

variable "start_position" {
  description = "Where shards without a lease row begin: TRIM_HORIZON, LATEST or a time."
  type        = string
  default     = "TRIM_HORIZON"
}

variable "settings" {
  description = "Further POLLER_* variables, e.g. { POLLER_POLLING__IDLE_MAX = \"5s\" }."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name in keys(var.settings) : startswith(name, "POLLER_")])
    error_message = "Every name must begin with POLLER_; the daemon refuses those that it does not know."
  }
}

variable "log_level" {
  description = "debug, info, warning or error; no level shows an item's content or key."
  type        = string
  default     = "info"
}

variable "embedded_metrics" {
  description = "CloudWatch makes metrics from the log (billed), for the alarms of config/cloudwatch/alarms.yml."
  type        = bool
  default     = false
}

variable "log_retention_days" {
  description = "How long the log is kept."
  type        = number
  default     = 30
}

variable "cluster" {
  description = "The name of the ECS cluster."
  type        = string
}

variable "launch_type" {
  description = "FARGATE, or EC2 with container instances in the cluster."
  type        = string
  default     = "FARGATE"

  validation {
    condition     = contains(["FARGATE", "EC2"], var.launch_type)
    error_message = "Write FARGATE or EC2."
  }
}

variable "architecture" {
  description = "That of the image: X86_64 or ARM64."
  type        = string
  default     = "X86_64"
}

variable "workers" {
  description = "They share the shards; a second one takes over when the first one dies."
  type        = number
  default     = 2
}

variable "cpu" {
  description = "CPU units of a worker, which uses one core at most."
  type        = number
  default     = 256
}

variable "memory" {
  description = "MiB of a worker; polling.buffer_max (64 MiB) is a part of it."
  type        = number
  default     = 512
}

variable "vpc_id" {
  description = "The workers' network."
  type        = string
}

variable "subnets" {
  description = "From which AWS's endpoints and the image's registry are reached."
  type        = list(string)
}

variable "assign_public_ip" {
  description = "For subnets without a NAT gateway or endpoints; Fargate only."
  type        = bool
  default     = false
}

variable "scraper_security_group" {
  description = "The security group of Prometheus, which may reach the port of the metrics; empty: nobody may."
  type        = string
  default     = ""
}

variable "namespace_id" {
  description = "A private DNS namespace of Cloud Map, in which Prometheus finds the workers; empty: none."
  type        = string
  default     = ""
}

variable "discovery_name" {
  description = "The workers' name in that namespace, another for each module in it."
  type        = string
  default     = "poller"
}

variable "alarm_topic_arn" {
  description = "The SNS topic that the alarms tell; empty: nobody is told."
  type        = string
  default     = ""
}

variable "behind_seconds" {
  description = "The age of the queue's oldest message from which on the consumers are too slow."
  type        = number
  default     = 900
}
