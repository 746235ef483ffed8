import type { EntityManager } from 'typeorm';
import type { GithubEvent } from '../../deliveries/github-event.js';

/** Writes what an event says about one kind of thing; events that say nothing about it are none of its business. */
export interface Projector {
  project(event: GithubEvent, manager: EntityManager): Promise<void>;
}
