import { briefMessageLength, fullErrors, rememberedAttempts } from '../engine/task.js';
import { millis } from './fragments.sql.js';
import { clock } from './new-tasks.sql.js';

/** The place of the attempt whose error is full no longer once another is appended. */
const aged = (field: string) => `'{-${fullErrors},error,${field}}'`;

/** Appends an attempt to those of `t`; `report` is a jsonb of its number, outcome and error. */
export const withAttempt = (report: string) => `
      (CASE WHEN jsonb_array_length(t."attempts") < ${fullErrors} THEN t."attempts"
        ELSE jsonb_set(t."attempts" #- ${aged('stack')} #- ${aged('cause')}, ${aged('message')}, coalesce(
            to_jsonb(left(t."attempts" #>> ${aged('message')}, ${briefMessageLength})), 'null'), false)
          - (CASE WHEN jsonb_array_length(t."attempts") < ${rememberedAttempts} THEN ${rememberedAttempts} ELSE 0 END)
        END)
      || jsonb_build_array(${report} || jsonb_build_object('workerId', t."worker_id",
        'startedAt', ${millis('t."started_at"')}, 'finishedAt', ${millis(clock)}))`;
